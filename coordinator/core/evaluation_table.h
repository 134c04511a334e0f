#pragma once

#include "common/clock.h"
#include "coordinator/core/effects.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// All evaluations, who holds which, and their results: pending → leased → scored | failed | cancelled. The epoch of a
/// lease is the fencing token: whatever arrives under another epoch, worker or incarnation changes nothing. Every
/// change is appended to the Effects as a row to write. Pure; the scheduler owns it; not thread-safe.
class EvaluationTable {
 public:
  /// Rows of an earlier process; its leases count as granted now.
  void restore(std::vector<EvaluationRecord> evaluations, std::vector<LeaseRecord> open_leases, const Now& now);

  /// The evaluation with this hash, created pending if it is new; an earlier cancelled one is pending again. Returns
  /// its id.
  std::int64_t need(EvaluationRecord evaluation, Effects& effects);

  [[nodiscard]] const EvaluationRecord& at(std::int64_t id) const;
  [[nodiscard]] bool contains(std::int64_t id) const { return id >= 1 && id <= size(); }
  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(evaluations_.size()); }
  [[nodiscard]] bool has_pending() const { return !pending_.empty(); }

  /// Leases the oldest pending evaluation; one that this worker failed at only if every worker in `ready_workers` did.
  /// nullopt when there is none.
  [[nodiscard]] std::optional<LeaseId> grant(const Sender& worker, const std::set<std::string>& ready_workers,
                                             const Now& now, Effects& effects);

  /// Whether this sender holds this very lease now.
  [[nodiscard]] bool holds(const Sender& sender, const LeaseId& lease) const;
  [[nodiscard]] std::vector<LeaseRecord> leases_of(const Sender& sender) const;
  /// Leases of `sender` that were granted before `time`, by the monotonic clock.
  [[nodiscard]] std::vector<LeaseRecord> leases_granted_before(const Sender& sender,
                                                               std::chrono::milliseconds time) const;
  [[nodiscard]] std::size_t leases_held(const Sender& sender) const;
  [[nodiscard]] std::vector<LeaseRecord> open_leases() const;

  // The three ends of a lease, which must be open (std::logic_error).
  void score(const LeaseId& lease, const ScoreResult& result, const Now& now, Effects& effects);
  /// The evaluation is pending again, with one failure more.
  void fail(const LeaseId& lease, LeaseEnd end, const std::string& detail, const Now& now, Effects& effects);
  /// The evaluation is pending again; no failure is counted.
  void release(const LeaseId& lease, LeaseEnd end, const std::string& detail, const Now& now, Effects& effects);

  /// Distinct workers that failed at the evaluation since this process began.
  [[nodiscard]] std::size_t workers_that_failed(std::int64_t id) const;
  /// Gives up a pending evaluation: state failed. A candidate that needs it is never ranked.
  void give_up(std::int64_t id, Effects& effects);
  /// Cancels an evaluation that is no longer wanted and ends its lease. Returns the lease to revoke, with its holder,
  /// if there was one. Changes nothing in an evaluation that has ended.
  std::optional<LeaseRecord> cancel(std::int64_t id, const Now& now, Effects& effects);

 private:
  struct OpenLease {
    LeaseRecord row;
    std::chrono::milliseconds granted{0};  // by the monotonic clock
  };

  EvaluationRecord& row(std::int64_t id) { return evaluations_.at(static_cast<std::size_t>(id - 1)); }
  void open_lease(LeaseRecord lease, const Now& now);
  void end_lease(const LeaseId& lease, LeaseEnd end, const std::string& detail, const Now& now, Effects& effects);

  std::vector<EvaluationRecord> evaluations_;  // id − 1 is the index
  std::map<std::string, std::int64_t> by_hash_;
  std::set<std::int64_t> pending_;
  std::map<std::int64_t, OpenLease> open_leases_;                // by evaluation
  std::map<Sender, std::set<std::int64_t>> leased_evaluations_;  // by holder, those with any
  std::map<std::int64_t, std::set<std::string>> failed_workers_;
};

}  // namespace longrope

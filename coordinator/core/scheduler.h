#pragma once

#include "common/clock.h"
#include "common/wire/messages.h"
#include "coordinator/core/stage_run.h"
#include "coordinator/core/worker_roster.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace longrope {

/// What can happen to the coordinator.
struct WorkerSaid {
  std::string peer;  // the transport's name of the connection
  WorkerMessage message;
};
struct PeerUnreachable {
  std::string peer;
};
struct TimePassed {};
using Event = std::variant<TimePassed, WorkerSaid, PeerUnreachable>;

/// For the live display; derived from state, no history.
struct SearchProgress {
  std::string stage;
  StageState stage_state = StageState::kPending;
  std::size_t told = 0;
  std::size_t budget = 0;
  std::optional<std::size_t> best_candidate;
  std::optional<double> best_mean_nll;
  std::size_t workers_ready = 0;
  std::size_t workers_connected = 0;    // those that still load the model included
  std::int64_t evaluations_scored = 0;  // since this process began
  std::int64_t search_left = 0;         // evaluations of the stage's search candidates, if the whole budget is used
  /// Evaluations after the search of the stage: finalists and baselines on held-out documents, winner and baselines on
  /// final ones. Each costs one pass over a document of the target length. An estimate until the winner is chosen.
  std::int64_t judging_evaluations = 0;
  std::int64_t judging_left = 0;  // those of them that are not scored yet
  bool may_end_early = false;     // a stop rule can end the search before its budget is used
  std::optional<std::chrono::milliseconds> search_time_left = std::nullopt;  // nullopt: no time limit
};

/// The scheduling core: a pure function step(event, now) → effects over the state below. It keeps the stages going,
/// hands evaluations to workers under leases, judges results, and gives up workers that fall silent or hang. The caller
/// makes the writes durable before it sends the messages. Driven by ZeroMQ, SQLite and a clock in production and by a
/// seeded simulator in tests. Not thread-safe.
class Scheduler {
 public:
  /// Continues from `snapshot` (empty for a new search). Restored leases stay with their workers, which have
  /// worker_timeout from `now` to speak up. Throws Error when the snapshot does not replay.
  Scheduler(SearchPlan plan, Snapshot snapshot, const Now& now);

  [[nodiscard]] Effects step(const Event& event, const Now& now);

  /// The rows to write when the coordinator ends before the search: no worker is connected, leases stay with their
  /// workers.
  [[nodiscard]] Effects stop();

  /// Time from `now` after which step(TimePassed) is due at the latest. When the next step comes later (a full disk, a
  /// stopped process), no worker is given up for the excess: what workers said in it has not been read yet.
  [[nodiscard]] std::chrono::milliseconds next_deadline(const Now& now) const;
  [[nodiscard]] bool finished() const { return current_ == stages_.size(); }
  [[nodiscard]] SearchProgress progress() const;
  [[nodiscard]] const SearchPlan& plan() const { return plan_; }

 private:
  void handle(const WorkerSaid& said, const Now& now, Effects& effects);
  void greet(const std::string& peer, const Hello& hello, const Now& now, Effects& effects);
  void take_result(const std::string& peer, const Result& result, const Now& now, Effects& effects);
  void take_failure(const std::string& peer, const Failure& failure, const Now& now, Effects& effects);
  void make_ready(Worker& worker, const Ready& ready, const Now& now, Effects& effects);
  void take_heartbeat(Worker& worker, const Heartbeat& heartbeat, const Now& now, Effects& effects);
  void count_failure(const LeaseId& lease, const std::string& detail, const Now& now, Effects& effects);
  void refuse(const Worker& worker, const std::string& reason, const Now& now, Effects& effects);
  void part_with(const Sender& sender, WorkerState state, const std::string& detail, const Now& now, Effects& effects);
  void release(const std::vector<LeaseRecord>& leases, LeaseEnd end, const std::string& detail, const Now& now,
               Effects& effects);
  void part_with_departed(const Now& now, Effects& effects);
  void advance_stages(const Now& now, Effects& effects);
  void dismiss_all(const Now& now, Effects& effects);
  void grant_leases(const Now& now, Effects& effects);
  void send_revocations(Effects& effects);
  void restore(Snapshot snapshot, const Now& now);
  [[nodiscard]] std::chrono::milliseconds longest_round() const;
  [[nodiscard]] Now attended(const Now& now) const;
  [[nodiscard]] Work work_for(const LeaseId& lease) const;
  [[nodiscard]] ExpectedResult expected_result(const EvaluationRecord& evaluation) const;
  [[nodiscard]] std::int64_t expected_scored_tokens(const EvaluationRecord& evaluation) const;

  SearchPlan plan_;
  EvaluationTable evaluations_;
  std::int64_t next_candidate_id_ = 1;
  std::vector<std::unique_ptr<StageRun>> stages_;
  std::size_t current_ = 0;
  WorkerRoster roster_;
  std::map<std::string, RescaleFactors> factors_;  // by digest, for Work
  Effects restored_;                               // rows that restore() corrected; written with the first step
  std::chrono::milliseconds last_step_{0};
  std::chrono::milliseconds unattended_{0};  // time without steps, which counts against no worker
  std::int64_t scored_here_ = 0;
};

}  // namespace longrope

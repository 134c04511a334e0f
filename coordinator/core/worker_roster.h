#pragma once

#include "common/clock.h"
#include "config/config.h"
#include "coordinator/core/effects.h"
#include "coordinator/core/evaluation_table.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// A process that serves under a worker id, or that held leases under it when an earlier coordinator ended.
struct Worker {
  /// Another process that says hello under the same id.
  struct Claimant {
    std::string peer;
    std::chrono::milliseconds since{0};  // its first hello
    std::chrono::milliseconds heard{0};  // its last one
  };

  Sender sender;
  std::string peer;                         // the transport's name of the connection; empty: not heard of yet
  bool greeted = false;                     // by this coordinator
  bool ready = false;                       // model loaded, may be given work
  std::chrono::milliseconds heard{0};       // last message
  std::chrono::milliseconds progressed{0};  // last time the compute loop moved or had nothing to do
  std::int64_t progress = 0;
  int rejected_in_a_row = 0;
  std::map<std::string, Claimant> claimants;  // by incarnation
};

/// The connected workers, and the database row of every worker that there ever was. One process serves under a worker
/// id: a second one waits until it is known whether the first lives, and is refused if it does. Times are those of
/// `Now::steady`. Pure; the scheduler owns it; not thread-safe.
class WorkerRoster {
 public:
  explicit WorkerRoster(const SchedulingConfig& scheduling) : scheduling_(scheduling) {}

  /// Takes the rows of an earlier process. No worker counts as connected before it speaks: rows that said otherwise are
  /// corrected and appended to `effects`. Holders of open leases have worker_timeout from `now` to speak.
  void restore(std::vector<WorkerRecord> rows, const std::vector<LeaseRecord>& open_leases, const Now& now,
               Effects& effects);

  /// Notes that `sender` spoke. nullptr when no worker that is there is this very process.
  Worker* hear(const Sender& sender, const std::string& peer, const Now& now);
  [[nodiscard]] Worker* find(const Sender& sender);
  [[nodiscard]] Worker* find_peer(const std::string& peer);

  /// Whether the sender of a hello may serve under its id. If not, `effects` refuses it or it has to say hello again.
  [[nodiscard]] bool admits(const Sender& sender, const std::string& peer, const Now& now, Effects& effects);
  /// Makes the sender of a hello a connected worker; only after admits().
  void enter(const Hello& hello, const std::string& peer, const Now& now, Effects& effects);
  /// Removes `sender`, unless another process has taken its place, and writes why. Processes that wait for the id are
  /// asked to say hello again.
  void strike_off(const Sender& sender, WorkerState state, const std::string& detail, Effects& effects);

  /// Writes that no worker is connected, because the coordinator ends. The workers stay in the roster.
  void disconnect(const std::string& detail, Effects& effects);

  struct Departed {
    Sender sender;
    std::string why;
  };
  /// Workers that have been silent for too long, or whose computation stands still while they hold leases.
  [[nodiscard]] std::vector<Departed> departed(const EvaluationTable& evaluations, const Now& now) const;
  /// Time from `now` after which departed() is to be asked again at the latest.
  [[nodiscard]] std::chrono::milliseconds next_deadline(const EvaluationTable& evaluations, const Now& now) const;

  [[nodiscard]] std::map<std::string, Worker>& all() { return workers_; }
  [[nodiscard]] std::set<std::string> ready() const;  // ids
  /// What the search computes in (described_arithmetic()): that of a worker with results, else of one that is ready;
  /// empty when there is neither.
  [[nodiscard]] std::string_view arithmetic() const;
  /// Workers that this coordinator has greeted, ready or not.
  [[nodiscard]] std::size_t connected() const;
  /// The database row of a worker. The caller changes it and appends it to its effects.
  [[nodiscard]] WorkerRecord& row_of(const Sender& sender);
  /// Why this very process was refused; nullopt if it was not.
  [[nodiscard]] std::optional<std::string> why_refused(const Sender& sender) const;

 private:
  [[nodiscard]] std::chrono::milliseconds silence_allowed(const Worker& worker) const;
  [[nodiscard]] std::chrono::milliseconds dispute() const;

  SchedulingConfig scheduling_;
  std::map<std::string, Worker> workers_;     // by id
  std::map<std::string, WorkerRecord> rows_;  // by id
};

}  // namespace longrope

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

/// Who is there, and what the database says about every worker there ever was. One process serves under a worker id: a
/// second one waits until it is known whether the first lives, and is refused if it does. Times are those of
/// `Now::steady`. Pure; the scheduler owns it; not thread-safe.
class WorkerRoster {
 public:
  explicit WorkerRoster(const SchedulingConfig& scheduling) : scheduling_(scheduling) {}

  /// Rows of an earlier process, in which nobody is connected before it speaks: what had to be set right is appended to
  /// `effects`. Holders of open leases have from `now` on the time that any worker has to speak.
  void restore(std::vector<WorkerRecord> rows, const std::vector<LeaseRecord>& open_leases, const Now& now,
               Effects& effects);

  /// Notes that this very process spoke. nullptr when it is none of those that are there.
  Worker* hear(const Sender& sender, const std::string& peer, const Now& now);
  [[nodiscard]] Worker* find(const Sender& sender);
  [[nodiscard]] Worker* find_peer(const std::string& peer);

  /// Whether the sender of a hello may serve under its id. If not, it was refused or has to ask again.
  [[nodiscard]] bool admits(const Sender& sender, const std::string& peer, const Now& now, Effects& effects);
  /// Enters it, connected, after admits().
  void enter(const Hello& hello, const std::string& peer, const Now& now, Effects& effects);
  /// Strikes it off, or changes nothing if another process has taken its place; who waited for the id asks again.
  void strike_off(const Sender& sender, WorkerState state, const std::string& detail, Effects& effects);

  /// Writes that nobody is connected, because the coordinator ends; those that are there stay.
  void disconnect(const std::string& detail, Effects& effects);

  struct Departed {
    Sender sender;
    std::string why;
  };
  /// Those that are silent for too long, or whose computation stands still while they hold leases.
  [[nodiscard]] std::vector<Departed> departed(const EvaluationTable& evaluations, const Now& now) const;
  /// When departed() is to be asked again at the latest.
  [[nodiscard]] std::chrono::milliseconds next_deadline(const EvaluationTable& evaluations, const Now& now) const;

  [[nodiscard]] std::map<std::string, Worker>& all() { return workers_; }
  [[nodiscard]] std::set<std::string> ready() const;  // ids
  /// The row of a worker that is there. The caller changes it and writes it.
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

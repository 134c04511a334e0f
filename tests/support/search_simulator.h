#pragma once

#include "coordinator/core/scheduler.h"
#include "tests/support/row_store.h"
#include "worker/worker_protocol.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// Faults of one simulated search. Probabilities are per frame, per document scored, or per commit.
struct SimulatedFaults {
  double drop_frame = 0.0;
  double repeat_frame = 0.0;
  double delay_frame = 0.0;  // by up to 20 s: overtaken by later ones
  double worker_crash = 0.0;
  double worker_hang = 0.0;
  double worker_lie = 0.0;                                          // NaN, a negative sum, a wrong count, no gradient
  double coordinator_crash_before = 0.0;                            // before its commit: the batch is lost
  double coordinator_crash_after = 0.0;                             // between commit and send
  std::int64_t at_most = std::numeric_limits<std::int64_t>::max();  // of the faults above, all together
  bool first_worker_always_lies = false;
  /// Somebody starts another process under the first worker's id, and starts it again whenever it ends.
  bool first_worker_has_a_twin = false;
};

/// All of them together, each rare enough for the search to go on.
[[nodiscard]] SimulatedFaults every_fault();

/// (factors, document) pairs that no worker can score, the same in every run: some candidates, and one document of the
/// baseline "none".
[[nodiscard]] bool unscorable_pair(const Work& work);

/// A whole search in virtual time: the real Scheduler and the real WorkerProtocol, every frame through the real codec,
/// with scoring, network, disk and processes simulated. Everything follows from `seed`.
class SearchSimulator {
 public:
  SearchSimulator(SearchPlan plan, DurableRows& rows, std::size_t workers, SimulatedFaults faults, std::uint64_t seed);

  /// Runs to the end of the search. Faults stop after 10 virtual minutes. False when the search is not finished after
  /// 60, which nothing excuses.
  [[nodiscard]] bool run();

  /// What no worker can score.
  std::function<bool(const Work&)> unscorable = [](const Work&) { return false; };

  [[nodiscard]] std::int64_t documents_scored() const { return documents_scored_; }
  [[nodiscard]] std::int64_t coordinator_starts() const { return coordinator_starts_; }
  /// Processes of workers that the coordinator refused.
  [[nodiscard]] std::int64_t processes_refused() const { return processes_refused_; }
  /// "stored" acknowledgements that reached a worker although the rows do not say so.
  [[nodiscard]] const std::vector<std::string>& broken_promises() const { return broken_promises_; }

 private:
  using Milliseconds = std::chrono::milliseconds;

  struct WorkerProcess {
    std::size_t number = 0;
    std::string id;
    std::int64_t process = 0;  // counts restarts; frames and timers of an earlier one are void
    std::unique_ptr<WorkerProtocol> protocol;
    bool alive = false;
    std::int64_t progress = 0;
    std::int64_t job = 0;  // counts jobs
    bool computing = false;
    std::set<std::int64_t> reported;  // evaluations with a correct result sent
  };

  struct Task {
    Milliseconds at;
    std::int64_t order;
    std::function<void()> run;
    bool operator>(const Task& other) const { return std::tie(at, order) > std::tie(other.at, other.order); }
  };

  void after(Milliseconds delay, std::function<void()> run);
  [[nodiscard]] bool by_chance(double probability);
  [[nodiscard]] bool fault_happens(double probability);
  [[nodiscard]] Milliseconds between(int low, int high);
  [[nodiscard]] Now now() const;
  /// Delivers through the network: delayed, perhaps dropped or repeated.
  void transmit(const std::function<void()>& deliver);

  void start_coordinator();
  void crash_coordinator();
  void coordinator_receives(const std::string& peer, const std::string& frame);
  void step(const Event& event);
  void commit();
  void tick_coordinator(std::int64_t start);
  void send(const Outgoing& outgoing);

  void start_worker(std::size_t number);
  void stop_worker(std::size_t number, bool connection_closes);
  void tick_worker(std::size_t number, std::int64_t process);
  void carry_out(std::size_t number, WorkerActions actions);
  void worker_receives(std::size_t number, const std::string& peer, const std::string& frame);
  void compute(std::size_t number, const ScoreDocument& job);
  void finish(std::size_t number, std::int64_t process, std::int64_t job, const Work& work);
  void corrupt(WorkerMessage& message);
  void check_promise(const Acknowledge& acknowledge);
  [[nodiscard]] std::string peer_of(const WorkerProcess& worker) const;

  SearchPlan plan_;
  std::map<std::string, Document> documents_;
  DurableRows& rows_;
  SimulatedFaults faults_;
  std::mt19937_64 random_;
  std::priority_queue<Task, std::vector<Task>, std::greater<>> tasks_;
  std::int64_t next_order_ = 0;
  Milliseconds now_{1000};
  std::unique_ptr<Scheduler> scheduler_;  // empty while the process is down
  Effects batch_;
  bool commit_due_ = false;
  std::int64_t coordinator_starts_ = 0;
  std::vector<WorkerProcess> workers_;
  std::set<std::string> closed_;  // connections of processes that died, as far as the network says so
  std::int64_t documents_scored_ = 0;
  std::int64_t processes_refused_ = 0;
  std::vector<std::string> broken_promises_;
};

}  // namespace longrope

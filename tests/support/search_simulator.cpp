#include "tests/support/search_simulator.h"

#include "common/error.h"
#include "tests/support/search_fixture.h"

#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>

namespace longrope {
namespace {

constexpr std::chrono::minutes kFaultsEnd{10};
constexpr std::chrono::minutes kPatience{60};
constexpr std::chrono::milliseconds kCoordinatorTick{250};
constexpr std::chrono::milliseconds kTile{200};  // of virtual scoring time

}  // namespace

SimulatedFaults every_fault() {
  return {.drop_frame = 0.03,
          .repeat_frame = 0.03,
          .delay_frame = 0.02,
          .worker_crash = 0.03,
          .worker_hang = 0.01,
          .worker_lie = 0.04,
          .coordinator_crash_before = 0.01,
          .coordinator_crash_after = 0.01};
}

bool unscorable_pair(const Work& work) {
  double sum = 0.0;
  for (const double lambda : work.lambda) sum += lambda;
  const std::string one_document = digest(fixture_document(fixture_document_name(0, /*heldout=*/true, 0)));
  if (sum == static_cast<double>(work.lambda.size())) return work.document_digest == one_document;
  const int document = std::stoi(work.document_digest.substr(0, 4), nullptr, /*base=*/16);
  return (static_cast<std::int64_t>(sum * 100.0) + document) % 11 == 3;
}

SearchSimulator::SearchSimulator(SearchPlan plan, DurableRows& rows, std::size_t workers, SimulatedFaults faults,
                                 std::uint64_t seed)
    : plan_(std::move(plan)),
      documents_(fixture_documents(plan_.stages.size())),
      rows_(rows),
      faults_(faults),
      random_(seed),
      workers_(workers + (faults.first_worker_has_a_twin ? 1 : 0)) {
  for (std::size_t number = 0; number < workers_.size(); ++number) {
    workers_[number].number = number;
    workers_[number].id = "worker-" + std::to_string(number == workers ? 0 : number);
  }
}

bool SearchSimulator::run() {
  start_coordinator();
  for (std::size_t number = 0; number < workers_.size(); ++number) {
    after(between(0, 3000), [this, number] { start_worker(number); });
  }
  while (!tasks_.empty() && now_ < kPatience) {
    const Task task = tasks_.top();
    tasks_.pop();
    now_ = task.at;
    if (now_ >= kFaultsEnd) faults_ = {};
    task.run();
    if (scheduler_ && scheduler_->finished() && batch_.writes.empty()) return true;
  }
  return false;
}

void SearchSimulator::after(Milliseconds delay, std::function<void()> run) {
  tasks_.push({now_ + delay, next_order_++, std::move(run)});
}

bool SearchSimulator::by_chance(double probability) {
  return probability > 0.0 && std::uniform_real_distribution<double>(0.0, 1.0)(random_) < probability;
}

bool SearchSimulator::fault_happens(double probability) {
  if (faults_.at_most == 0 || !by_chance(probability)) return false;
  --faults_.at_most;
  return true;
}

SearchSimulator::Milliseconds SearchSimulator::between(int low, int high) {
  return Milliseconds(std::uniform_int_distribution<int>(low, high)(random_));
}

Now SearchSimulator::now() const { return {now_, 1'700'000'000'000 + now_.count()}; }

void SearchSimulator::transmit(const std::function<void()>& deliver) {
  if (fault_happens(faults_.drop_frame)) return;
  const int copies = fault_happens(faults_.repeat_frame) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    // Frames sent together arrive together and in order, as on one connection; only a fault lets them overtake.
    after(fault_happens(faults_.delay_frame) ? between(10, 20000) : Milliseconds(5), deliver);
  }
}

void SearchSimulator::start_coordinator() {
  ++coordinator_starts_;
  batch_ = {};
  commit_due_ = false;
  rows_.restart();
  scheduler_ = std::make_unique<Scheduler>(plan_, rows_.load(), now());
  step(TimePassed{});
  tick_coordinator(coordinator_starts_);
}

void SearchSimulator::crash_coordinator() {
  scheduler_.reset();
  batch_ = {};
  after(between(100, 20000), [this] { start_coordinator(); });
}

void SearchSimulator::coordinator_receives(const std::string& peer, const std::string& frame) {
  if (!scheduler_) return;
  WorkerMessage message = decode_worker_message(frame);
  if (const auto* request = std::get_if<NeedDocument>(&message)) {
    batch_.messages.push_back({peer, DocumentData{request->digest, documents_.at(request->digest)}});
  }
  step(WorkerSaid{peer, std::move(message)});
}

void SearchSimulator::step(const Event& event) {
  Effects effects = scheduler_->step(event, now());
  std::ranges::move(effects.writes, std::back_inserter(batch_.writes));
  std::ranges::move(effects.messages, std::back_inserter(batch_.messages));
  if (std::exchange(commit_due_, true)) return;
  const std::int64_t start = coordinator_starts_;
  after(between(0, 8), [this, start] {
    if (start == coordinator_starts_ && scheduler_) commit();
  });
}

void SearchSimulator::commit() {
  commit_due_ = false;
  if (!batch_.writes.empty() && fault_happens(faults_.coordinator_crash_before)) return crash_coordinator();
  rows_.apply(batch_.writes);
  batch_.writes.clear();
  if (fault_happens(faults_.coordinator_crash_after)) return crash_coordinator();
  for (const Outgoing& outgoing : std::exchange(batch_.messages, {})) send(outgoing);
}

void SearchSimulator::send(const Outgoing& outgoing) {
  if (closed_.contains(outgoing.peer)) {
    after(Milliseconds(1), [this, peer = outgoing.peer] {
      if (scheduler_) step(PeerUnreachable{peer});
    });
  }
  for (WorkerProcess& worker : workers_) {
    if (!worker.alive || peer_of(worker) != outgoing.peer) continue;
    const std::string frame = encode(outgoing.message);
    transmit([this, number = worker.number, peer = outgoing.peer, frame] { worker_receives(number, peer, frame); });
  }
}

void SearchSimulator::tick_coordinator(std::int64_t start) {
  after(kCoordinatorTick, [this, start] {
    if (start != coordinator_starts_ || !scheduler_) return;
    step(TimePassed{});
    tick_coordinator(start);
  });
}

std::string SearchSimulator::peer_of(const WorkerProcess& worker) const {
  return "process-" + std::to_string(worker.number) + "/" + std::to_string(worker.process);
}

void SearchSimulator::start_worker(std::size_t number) {
  WorkerProcess& worker = workers_[number];
  ++worker.process;
  worker.alive = true;
  worker.computing = false;
  worker.progress = 0;
  worker.protocol = std::make_unique<WorkerProtocol>(Sender{worker.id, peer_of(worker)}, "host", /*threads=*/0);
  tick_worker(number, worker.process);
}

void SearchSimulator::stop_worker(std::size_t number, bool connection_closes) {
  WorkerProcess& worker = workers_[number];
  if (!std::exchange(worker.alive, false)) return;
  if (connection_closes) closed_.insert(peer_of(worker));
  after(between(500, 15000), [this, number] { start_worker(number); });
}

void SearchSimulator::tick_worker(std::size_t number, std::int64_t process) {
  WorkerProcess& worker = workers_[number];
  if (worker.process != process || !worker.alive) return;
  carry_out(number, worker.protocol->tick(worker.progress, now()));
  after(worker.protocol->tick_interval(), [this, number, process] { tick_worker(number, process); });
}

void SearchSimulator::carry_out(std::size_t number, WorkerActions actions) {
  WorkerProcess& worker = workers_[number];
  for (WorkerMessage& message : actions.send) {
    const bool lies = fault_happens(faults_.worker_lie) || (faults_.first_worker_always_lies && number == 0);
    if (lies) corrupt(message);
    const std::string frame = encode(message);
    transmit([this, peer = peer_of(worker), frame] { coordinator_receives(peer, frame); });
  }
  const std::int64_t process = worker.process;
  if (actions.load) {
    after(between(500, 4000), [this, number, process] {
      WorkerProcess& loaded = workers_[number];
      if (loaded.process != process || !loaded.alive) return;
      carry_out(number, loaded.protocol->model_loaded(plan_.model_digest, "simulated", plan_.threads_per_worker));
    });
  }
  if (actions.score) compute(number, *actions.score);
  if (actions.exit) {
    if (actions.exit->status != 0) ++processes_refused_;
    stop_worker(number, /*connection_closes=*/true);  // its supervisor starts it again
  }
}

void SearchSimulator::worker_receives(std::size_t number, const std::string& peer, const std::string& frame) {
  WorkerProcess& worker = workers_[number];
  if (!worker.alive || peer_of(worker) != peer) return;
  const CoordinatorMessage message = decode_coordinator_message(frame);
  if (const auto* acknowledge = std::get_if<Acknowledge>(&message)) check_promise(*acknowledge);
  carry_out(number, worker.protocol->receive(message, now()));
}

void SearchSimulator::compute(std::size_t number, const ScoreDocument& job) {
  WorkerProcess& worker = workers_[number];
  if (std::exchange(worker.computing, true)) {
    broken_promises_.push_back("a worker was given two documents to score at once");
    return;
  }
  ++documents_scored_;
  const std::int64_t id = ++worker.job;
  const std::int64_t process = worker.process;
  const bool connection_closes = by_chance(0.5);  // a process dies, or its whole machine
  if (fault_happens(faults_.worker_crash)) {
    after(between(0, 3000), [this, number, process, connection_closes] {
      if (workers_[number].process == process) stop_worker(number, connection_closes);
    });
    return;
  }
  if (fault_happens(faults_.worker_hang)) {
    // Somebody looks after it in the end.
    after(between(40000, 120000), [this, number, process, connection_closes] {
      if (workers_[number].process == process) stop_worker(number, connection_closes);
    });
    return;
  }
  const Milliseconds duration = between(100, 3000);
  for (Milliseconds done = kTile; done < duration; done += kTile) {
    after(done, [this, number, process] {
      if (workers_[number].process == process) ++workers_[number].progress;
    });
  }
  after(duration, [this, number, process, id, work = job.work] { finish(number, process, id, work); });
}

void SearchSimulator::finish(std::size_t number, std::int64_t process, std::int64_t job, const Work& work) {
  WorkerProcess& worker = workers_[number];
  if (worker.process != process || !worker.alive || worker.job != job) return;
  worker.computing = false;
  if (unscorable(work)) {
    carry_out(number, worker.protocol->failed(EvaluationError::kNonFinite, "simulated"));
  } else {
    const auto kind = static_cast<EvaluationKind>(work.kind);
    carry_out(number, worker.protocol->scored(synthetic_result(kind, work.lambda, work.document_digest)));
  }
}

void SearchSimulator::corrupt(WorkerMessage& message) {
  auto* result = std::get_if<Result>(&message);
  if (result == nullptr) return;
  std::vector<double>& gradient = result->score.gradient;
  switch (between(0, gradient.empty() ? 3 : 5).count()) {
    case 0:
      result->score.nll_sum = std::numeric_limits<double>::quiet_NaN();
      break;
    case 1:
      result->score.nll_sum = -result->score.nll_sum;
      break;
    case 2:
      ++result->score.scored_tokens;
      break;
    case 3:
      result->score.blocks.clear();
      break;
    case 4:
      gradient.clear();
      break;
    default:
      gradient.back() = std::numeric_limits<double>::infinity();
  }
}

void SearchSimulator::check_promise(const Acknowledge& acknowledge) {
  if (acknowledge.outcome != "stored") return;
  const EvaluationRecord evaluation = rows_.evaluation(acknowledge.lease.evaluation);
  if (evaluation.state == EvaluationState::kLeased && evaluation.epoch == acknowledge.lease.epoch) {
    broken_promises_.push_back("lease acknowledged as stored is open: evaluation " + std::to_string(evaluation.id));
  }
  if (evaluation.state == EvaluationState::kScored || evaluation.failures > 0) return;
  broken_promises_.push_back("result acknowledged as stored is not: evaluation " + std::to_string(evaluation.id));
}

}  // namespace longrope

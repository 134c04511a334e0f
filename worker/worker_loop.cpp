#include "worker/worker_loop.h"

#include "common/error.h"
#include "common/model/model_description.h"
#include "common/wire/endpoint.h"
#include "common/wire/zmq_transport.h"
#include "worker/scoring/perplexity_scorer.h"
#include "worker/work_refusal.h"

#include <spdlog/spdlog.h>

#include <unistd.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <thread>
#include <utility>
#include <variant>

namespace longrope {
namespace {

constexpr std::chrono::milliseconds kFarewell{500};  // for the last message to leave

std::string random_incarnation() {
  std::random_device random;
  std::string text = "w";  // ZeroMQ reserves routing ids that begin with a zero byte
  constexpr std::string_view kHex = "0123456789abcdef";
  for (int i = 0; i < 32; ++i) text += kHex[random() % kHex.size()];
  return text;
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

struct Loaded {
  std::string model_digest;
  std::string device;
  std::int64_t threads = 0;
};
struct LoadFailed {
  std::string reason;
};
using Outcome = std::variant<Loaded, LoadFailed, ScoreResult, WorkFailure>;

/// The scoring thread: takes one job at a time, owns the model. `post` is called on that thread.
class Compute {
 public:
  Compute(const WorkerOptions& options, std::function<void(Outcome)> post)
      : options_(options), post_(std::move(post)), thread_([this] { run(); }) {
    thread_.detach();  // the process ends without it: see run_worker
  }

  void give(std::variant<LoadModel, ScoreDocument> job) {
    const std::lock_guard lock(mutex_);
    job_ = std::move(job);
    wake_.notify_one();
  }

  [[nodiscard]] std::int64_t progress() const { return progress_.load(std::memory_order_relaxed); }

 private:
  [[noreturn]] void run() {
    while (true) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return job_.has_value(); });
      const auto job = std::move(*std::exchange(job_, std::nullopt));
      lock.unlock();
      post_(std::visit([this](const auto& what) { return perform(what); }, job));
    }
  }

  Outcome perform(const LoadModel& load) {
    try {
      const Welcome& session = load.session;
      const std::filesystem::path directory = find_model(options_.model_root, session.model_name);
      std::string model = model_digest(directory);
      if (model != session.model_digest) {
        throw InputError("the model must be the coordinator's: digest " + session.model_digest + " wanted, " + model +
                         " found (" + directory.string() + ")");
      }
      ScorerOptions scorer;
      scorer.device = options_.device;
      scorer.dtype = parse_compute_dtype(session.dtype);
      scorer.angles = parse_angle_mode(session.angles);
      scorer.threads = session.threads;
      scorer.memory_budget = options_.memory_budget;
      scorer_ = std::make_unique<PerplexityScorer>(directory, scorer);
      for (const std::string& warning : scorer_->model().warnings) spdlog::warn("{}", printable_text(warning));
      return Loaded{std::move(model), scorer_->device_description(), session.threads};
    } catch (const std::exception& error) {
      return LoadFailed{error.what()};
    }
  }

  Outcome perform(const ScoreDocument& job) {
    try {
      if (auto refusal = why_refused(job.work, *job.document, scorer_->model())) return std::move(*refusal);
      const RescaleFactors factors = factors_of(job.work);
      if (!is_gradient(job.work)) return scorer_->score(factors, *job.document, job.work.length, progress_);
      FitnessResult result = scorer_->differentiate(factors, *job.document, job.work.length, progress_);
      result.score.gradient = std::move(result.gradient->log_lambda);
      result.score.gradient.push_back(result.gradient->log_attention);
      return std::move(result.score);
    } catch (const std::bad_alloc&) {
      return WorkFailure{EvaluationError::kOutOfMemory, "out of memory"};
    } catch (const MemoryError& error) {
      return WorkFailure{EvaluationError::kOutOfMemory, error.what()};
    } catch (const std::exception& error) {
      return WorkFailure{EvaluationError::kInternal, error.what()};
    }
  }

  WorkerOptions options_;
  std::function<void(Outcome)> post_;
  std::atomic<std::int64_t> progress_{0};
  std::unique_ptr<PerplexityScorer> scorer_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::optional<std::variant<LoadModel, ScoreDocument>> job_;
  std::thread thread_;
};

/// Socket, protocol and scoring thread together. Leaked on purpose: the detached thread uses it until the process ends.
struct Loop {
  Loop(const WorkerOptions& options, const Sender& sender)
      : endpoint(options.endpoint),
        transport(options.endpoint, sender.incarnation),
        protocol(sender, host_name(), options.threads),
        compute(options, [this](Outcome outcome) {
          const std::lock_guard lock(mutex);
          outcomes.push_back(std::move(outcome));
          transport.wake();
        }) {}

  /// True when the worker shall exit.
  bool carry_out(WorkerActions actions) {
    for (const WorkerMessage& message : actions.send) transport.send(encode(message));
    if (actions.load) compute.give(std::move(*actions.load));
    if (actions.score) compute.give(std::move(*actions.score));
    if (actions.unanswered) warn_unanswered(*actions.unanswered);
    if (actions.exit) exit = std::move(*actions.exit);
    return exit.has_value();
  }

  /// Asks the resolver, which may hold this loop up for seconds: no coordinator answers that would wait for it.
  void warn_unanswered(std::chrono::milliseconds silence) const {
    const std::string why = why_unresolved(endpoint);
    spdlog::warn("no coordinator answers at {} for {} s{}; trying again", endpoint,
                 std::chrono::duration_cast<std::chrono::seconds>(silence).count(), why.empty() ? "" : ": " + why);
  }

  WorkerActions report(const Outcome& outcome) {
    if (const auto* loaded = std::get_if<Loaded>(&outcome)) {
      spdlog::info("model loaded: {}", loaded->device);
      return protocol.model_loaded(loaded->model_digest, loaded->device, loaded->threads);
    }
    if (const auto* result = std::get_if<ScoreResult>(&outcome)) return protocol.scored(*result);
    if (const auto* failure = std::get_if<WorkFailure>(&outcome)) {
      spdlog::warn("scoring failed: {}", failure->detail);
      return protocol.failed(failure->error, failure->detail);
    }
    return protocol.model_failed(std::get<LoadFailed>(outcome).reason);
  }

  std::vector<Outcome> take_outcomes() {
    const std::lock_guard lock(mutex);
    return std::exchange(outcomes, {});
  }

  std::string endpoint;
  ZmqClient transport;
  WorkerProtocol protocol;
  std::mutex mutex;
  std::vector<Outcome> outcomes;
  std::optional<WorkerExit> exit;
  Compute compute;
};

}  // namespace

std::filesystem::path find_model(const std::filesystem::path& model_root, const std::string& name) {
  const std::filesystem::path component(name);
  if (name.empty() || name == "." || name == ".." || component.filename() != component) {
    throw InputError("a model name must be one path component: " + name);
  }
  if (std::filesystem::exists(model_root / component / "config.json")) return model_root / component;
  const std::filesystem::path root = std::filesystem::weakly_canonical(model_root);
  if (root.filename() == component && std::filesystem::exists(root / "config.json")) return root;
  throw InputError("the model must lie under the model root: no " + (model_root / component).string() + "/config.json");
}

WorkerExit run_worker(const WorkerOptions& options, const std::atomic<bool>& stop) {
  auto* loop = new Loop(options, Sender{options.id, random_incarnation()});
  std::chrono::milliseconds next_tick{0};
  while (!stop && !loop->exit) {
    const Now now = read_clocks();
    if (now.steady >= next_tick) {
      loop->carry_out(loop->protocol.tick(loop->compute.progress(), now));
      next_tick = now.steady + loop->protocol.tick_interval();
    }
    if (const auto frame = loop->transport.receive(next_tick - now.steady)) {
      try {
        if (loop->carry_out(loop->protocol.receive(decode_coordinator_message(*frame), read_clocks()))) break;
      } catch (const InputError& error) {
        spdlog::warn("{}", error.what());
      }
    }
    for (const Outcome& outcome : loop->take_outcomes()) loop->carry_out(loop->report(outcome));
  }
  const WorkerExit result = loop->exit.value_or(WorkerExit{0, "stopped"});
  if (!loop->exit) loop->transport.send(encode(WorkerMessage(loop->protocol.leave())));
  loop->transport.close(kFarewell);
  return result;
}

}  // namespace longrope

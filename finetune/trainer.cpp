#include "finetune/trainer.h"

#include "common/error.h"
#include "common/files/write_file.h"
#include "common/files/write_folder.h"
#include "common/sha256.h"
#include "finetune/adamw.h"
#include "finetune/data_parallel.h"
#include "finetune/model_parameters.h"
#include "finetune/training_pass.h"
#include "finetune/training_samples.h"
#include "finetune/training_state.h"
#include "worker/model/torch_errors.h"
#include "worker/scoring/compute_device.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStateFile = "state.safetensors";
constexpr const char* kLogFile = "training_log.jsonl";

fs::path training_folder(const fs::path& out) { return plain_folder(out).string() + ".training"; }

FineTunedModel fine_tuned_model(const TrainingOptions& options) {
  return {options.model, options.factors, /*mixed_windows=*/options.short_samples.has_value(), options.target_length,
          options.target};
}

/// "cuda" is for each of several processes the GPU of its place on its machine.
std::string device_of(const TrainingOptions& options) {
  const bool own = options.device == "cuda" && !options.place.alone();
  return own ? fmt::format("cuda:{}", options.place.local_rank) : options.device;
}

/// The same for all GPUs.
std::string describe_arithmetic(Placement placement, std::int64_t threads) {
  placement.device = at::Device(placement.device.type());
  return describe_placement(placement, threads);
}

/// Everything that the bits of the result depend on.
nlohmann::json settings_of(const TrainingOptions& options, const TrainingSamples& samples,
                           const std::optional<TrainingSamples>& short_samples, const std::string& arithmetic) {
  // Random weights depend on the shape alone, and there need not be others.
  return {
      {"model", options.random_weights ? sha256_of_file(options.model / "config.json") : model_digest(options.model)},
      {"random_weights", options.random_weights.value_or(0.0)},
      {"documents", samples.digest()},
      {"factors", options.factors ? digest(*options.factors) : "the model's"},
      {"target_length", options.factors ? options.target_length : 0},
      {"length", options.length},
      {"batch_size", options.batch_size},
      {"micro_batch_size", samples.micro_batch_size},
      {"short_documents", short_samples ? short_samples->digest() : ""},
      {"short_length", short_samples ? short_samples->length : 0},
      {"short_batch_size", short_samples ? short_samples->batch_size : 0},
      {"short_micro_batch_size", short_samples ? short_samples->micro_batch_size : 0},
      {"processes", options.place.count},
      {"steps", options.schedule.steps},
      {"schedule", to_string(options.schedule.shape)},
      {"learning_rate", options.schedule.peak},
      {"warmup_steps", options.schedule.warmup_steps},
      {"beta1", options.adamw.beta1},
      {"beta2", options.adamw.beta2},
      {"epsilon", options.adamw.epsilon},
      {"weight_decay", options.adamw.weight_decay},
      {"max_gradient_norm", options.max_gradient_norm},
      {"seed", options.seed},
      {"angles", to_string(options.angles)},
      {"arithmetic", arithmetic}};
}

class Training {
 public:
  explicit Training(const TrainingOptions& options)
      : options_(options),
        model_(describe_model(options.model)),
        placement_(choose_placement({device_of(options), options.dtype, options.angles, options.threads})),
        long_(long_samples(options, model_)),
        short_(short_samples(options, model_)),
        parameters_(options.random_weights
                        ? random_parameters(model_, *options.random_weights, options.seed, placement_.device)
                        : load_parameters(model_, placement_.device)),
        optimizer_(trained_tensors(parameters_), options.adamw),
        pass_(model_, parameters_, {placement_.arithmetic, options.angles, options.recompute}),
        processes_(options.place) {
    state_.settings = settings_of(options, long_, short_, describe_arithmetic(placement_, options.threads));
    processes_.require_same("settings", state_.settings.dump());
  }

  /// Takes up the state on disk, if any; returns the updates done.
  std::int64_t resume() {
    if (auto found = read_training_state(state_path(), state_.settings, optimizer_.state())) {
      state_ = std::move(*found);
      optimizer_.resume_at(done());
    }
    const auto own = static_cast<double>(done());
    if (processes_.sum(own) != own * static_cast<double>(options_.place.count)) {
      throw Error(
          fmt::format("all processes must see one training state: rank {} found {} steps, others another number "
                      "({})",
                      options_.place.rank, done(), state_path().native()));
    }
    return done();
  }

  [[nodiscard]] std::int64_t done() const { return static_cast<std::int64_t>(state_.steps.size()); }
  [[nodiscard]] const TrainingStep& last() const { return state_.steps.back(); }

  void update() {
    TrainingStep step{.step = done() + 1, .learning_rate = options_.schedule.at(done())};
    step.documents = long_.of_update(done());
    if (short_) step.short_documents = short_->of_update(done());
    const std::int64_t labels = long_.labels(step.documents) + (short_ ? short_->labels(step.short_documents) : 0);
    const double weight = 1.0 / static_cast<double>(labels);
    double nll_sum = accumulate_gradients(long_, step.documents, weight);
    if (short_) nll_sum += accumulate_gradients(*short_, step.short_documents, weight);
    for (const at::Tensor& gradient : optimizer_.gradients()) processes_.sum(gradient);
    step.loss = processes_.sum(nll_sum) / static_cast<double>(labels);
    step.gradient_norm = optimizer_.clip_gradients(options_.max_gradient_norm);
    if (!std::isfinite(step.loss) || !std::isfinite(step.gradient_norm)) {
      throw Error(
          fmt::format("loss and gradient must be finite: {} and {} at step {}; a smaller learning rate or a "
                      "longer warm-up may help",
                      step.loss, step.gradient_norm, step.step));
    }
    optimizer_.update(step.learning_rate);
    state_.steps.push_back(std::move(step));
  }

  /// Whether any process wants to stop.
  [[nodiscard]] bool agree_to_stop(bool own) { return processes_.sum(own ? 1.0 : 0.0) > 0.0; }

  void save() const {
    if (options_.place.rank > 0) return;
    fs::create_directories(training_folder(options_.out));
    write_training_state(state_path(), state_, optimizer_.state());
  }

  void wait_for_all() { processes_.finish(); }

  void finish() {
    if (options_.place.rank == 0) write_model();
    wait_for_all();
  }

 private:
  /// Of this process's share of a batch; returns its NLL.
  double accumulate_gradients(const TrainingSamples& samples, std::span<const std::uint64_t> batch, double weight) {
    const std::size_t share = batch.size() / static_cast<std::size_t>(options_.place.count);
    const auto own = batch.subspan(share * static_cast<std::size_t>(options_.place.rank), share);
    const auto micro = static_cast<std::size_t>(samples.micro_batch_size);
    double nll_sum = 0.0;
    for (std::size_t begin = 0; begin < own.size(); begin += micro) {
      const TrainingBatch tensors = samples.batch(own.subspan(begin, micro));
      nll_sum += pass_.accumulate_gradients(tensors.tokens.to(placement_.device), tensors.labels.to(placement_.device),
                                            samples.factors, weight);
    }
    return nll_sum;
  }

  void write_model() const {
    export_fine_tuned(
        fine_tuned_model(options_),
        [this](const fs::path& folder) {
          write_weights(parameters_, model_, folder);
          write_file_atomically(folder / kLogFile, training_log(state_.steps));
        },
        options_.out);
    fs::remove_all(training_folder(options_.out));
  }

  [[nodiscard]] fs::path state_path() const { return training_folder(options_.out) / kStateFile; }

  const TrainingOptions& options_;
  ModelDescription model_;
  Placement placement_;
  TrainingSamples long_;
  std::optional<TrainingSamples> short_;
  ModelParameters parameters_;
  AdamW optimizer_;
  TrainingPass pass_;
  DataParallel processes_;
  TrainingState state_;
};

}  // namespace

TrainingEnd train(const TrainingOptions& options, const TrainingObserver& observer, const std::atomic<bool>& stop) {
  require_consistent(options);
  require_free_folder(options.out);
  require_exportable(fine_tuned_model(options));
  set_threads(options.threads);
  keep_freed_blocks();
  return translating_errors([&] {
    Training training(options);
    if (const std::int64_t before = training.resume(); before > 0 && options.place.rank == 0) {
      observer.continued(before);
    }
    while (training.done() < options.schedule.steps) {
      const auto begun = std::chrono::steady_clock::now();
      training.update();
      const bool stopping = training.agree_to_stop(stop) && training.done() < options.schedule.steps;
      const bool last = stopping || training.done() == options.schedule.steps;
      if (last || training.done() % options.checkpoint_interval == 0) training.save();
      if (options.place.rank == 0) {
        observer.step_finished(training.last(),
                               std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
      }
      if (stopping) {
        training.wait_for_all();
        return TrainingEnd::kStopped;
      }
    }
    training.finish();
    return TrainingEnd::kFinished;
  });
}

}  // namespace longrope

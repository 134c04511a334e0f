#include "finetune/trainer.h"

#include "common/error.h"
#include "common/files/write_file.h"
#include "common/files/write_folder.h"
#include "finetune/adamw.h"
#include "finetune/data_parallel.h"
#include "finetune/learning_rate.h"
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
  return {options.model,
          options.factors,
          /*mixed_windows=*/short_samples(options.settings).has_value(),
          options.target_length,
          options.settings.target,
          options.reached_length};
}

/// The device of this process. "cuda" means, for each of several processes, the GPU of its place on its machine.
std::string device_of(const TrainingOptions& options) {
  const bool own = options.device == "cuda" && !options.place.alone();
  return own ? fmt::format("cuda:{}", options.place.local_rank) : options.device;
}

/// describe_placement() without the index of the GPU: several processes use GPUs of one kind, each its own.
std::string describe_arithmetic(Placement placement, std::int64_t threads) {
  placement.device = at::Device(placement.device.type());
  return describe_placement(placement, threads);
}

class Training {
 public:
  explicit Training(const TrainingOptions& options)
      : options_(options),
        model_(describe_model(options.model, options.reached_length)),
        placement_(choose_placement(
            {device_of(options), options.settings.dtype, options.settings.angles, options.settings.threads})),
        long_(long_samples(options, model_)),
        short_(short_samples(options, model_)),
        parameters_(options.random_weights
                        ? random_parameters(model_, *options.random_weights, options.settings.seed, placement_.device)
                        : load_parameters(model_, placement_.device)),
        optimizer_(trained_tensors(parameters_), adamw_options(options.settings)),
        pass_(model_, parameters_, {placement_.products, options.settings.angles, options.settings.recompute}),
        learning_rate_(learning_rate_schedule(options.settings)),
        processes_(options.place) {
    state_.settings = state_settings(options, long_, short_, describe_arithmetic(placement_, options.settings.threads));
    processes_.require_same("settings", state_.settings.dump());
  }

  /// Continues from the state on disk, if there is one; returns the number of updates done.
  std::int64_t resume() {
    if (auto found = read_training_state(state_path(), state_.settings, optimizer_.state())) {
      state_ = std::move(*found);
      optimizer_.resume_at(done());
    }
    const auto own = static_cast<double>(done());
    if (processes_.sum(own) != own * static_cast<double>(options_.place.count)) {
      throw Error(
          fmt::format("the processes see different training states: rank {} found {} steps, others another number ({})",
                      options_.place.rank, done(), state_path().native()));
    }
    return done();
  }

  [[nodiscard]] std::int64_t done() const { return static_cast<std::int64_t>(state_.steps.size()); }
  [[nodiscard]] const TrainingStep& last() const { return state_.steps.back(); }

  void update() {
    TrainingStep step{.step = done() + 1, .learning_rate = learning_rate_.at(done())};
    step.documents = long_.of_update(done());
    if (short_) step.short_documents = short_->of_update(done());
    const std::int64_t labels = long_.labels(step.documents) + (short_ ? short_->labels(step.short_documents) : 0);
    const double weight = 1.0 / static_cast<double>(labels);
    double nll_sum = accumulate_gradients(long_, step.documents, weight);
    if (short_) nll_sum += accumulate_gradients(*short_, step.short_documents, weight);
    for (const at::Tensor& gradient : optimizer_.gradients()) processes_.sum(gradient);
    step.loss = processes_.sum(nll_sum) / static_cast<double>(labels);
    step.gradient_norm = optimizer_.clip_gradients(options_.settings.max_gradient_norm);
    if (!std::isfinite(step.loss) || !std::isfinite(step.gradient_norm)) {
      throw Error(
          fmt::format("the training diverged: at step {} loss {} or gradient norm {} is no longer finite; a smaller "
                      "learning rate or a longer warm-up may help",
                      step.step, step.loss, step.gradient_norm));
    }
    optimizer_.update(step.learning_rate);
    state_.steps.push_back(std::move(step));
  }

  /// True when any process, this one by `own`, wants to stop.
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
  /// Adds the gradients of this process's share of a batch, micro-batch by micro-batch. Returns the share's summed NLL.
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
  LearningRateSchedule learning_rate_;
  DataParallel processes_;
  TrainingState state_;
};

}  // namespace

TrainingEnd train(const TrainingOptions& options, const TrainingObserver& observer, const std::atomic<bool>& stop) {
  require_consistent(options);
  require_free_folder(options.out);
  require_exportable(fine_tuned_model(options));
  set_threads(options.settings.threads);
  keep_freed_blocks();
  return translating_errors([&] {
    Training training(options);
    if (const std::int64_t before = training.resume(); before > 0 && options.place.rank == 0) {
      observer.continued(before);
    }
    while (training.done() < options.settings.steps) {
      const auto begun = std::chrono::steady_clock::now();
      training.update();
      const bool stopping = training.agree_to_stop(stop) && training.done() < options.settings.steps;
      const bool last = stopping || training.done() == options.settings.steps;
      if (last || training.done() % options.settings.checkpoint_interval == 0) training.save();
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

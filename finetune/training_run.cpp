#include "finetune/training_run.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace longrope {
namespace {

constexpr std::int64_t kTokensAtOnce = 16'384;

}  // namespace

std::int64_t micro_batch_size(const TrainingOptions& options, std::int64_t batch_size, std::int64_t length) {
  if (options.micro_batch_size > 0) return options.micro_batch_size;
  const std::int64_t share = batch_size / options.place.count;
  std::int64_t size = std::clamp<std::int64_t>(kTokensAtOnce / length, 1, std::max<std::int64_t>(1, share));
  while (share % size != 0) --size;
  return size;
}

void require_consistent(const TrainingOptions& options) {
  const auto require = [](bool holds, std::string_view rule, const auto& value) {
    if (!holds) throw InputError(fmt::format("{}: {}", rule, value));
  };
  require(options.length >= 2, "length must be at least 2 tokens", options.length);
  require(!options.factors || options.target_length >= options.length,
          fmt::format("target length must be at least the length of a sample, {}", options.length),
          options.target_length);
  require(options.schedule.steps >= 1, "steps must be positive", options.schedule.steps);
  const auto require_shared_evenly = [&](std::int64_t batch_size, std::int64_t length) {
    require(batch_size >= 1, "batch size must be positive", batch_size);
    require(batch_size % options.place.count == 0,
            fmt::format("the number of processes must divide the batch size, {}", batch_size), options.place.count);
    const std::int64_t share = batch_size / options.place.count;
    require(share % micro_batch_size(options, batch_size, length) == 0,
            fmt::format("micro-batch size must divide a process's share of the batch, {}", share),
            options.micro_batch_size);
  };
  require_shared_evenly(options.batch_size, options.length);
  if (options.short_samples) {
    require(options.factors.has_value(), "short samples belong to a training with factors", "none are given");
    require(options.short_samples->length >= 2, "length of short samples must be at least 2 tokens",
            options.short_samples->length);
    require_shared_evenly(options.short_samples->batch_size, options.short_samples->length);
  }
  require(options.checkpoint_interval >= 1, "checkpoint interval must be positive", options.checkpoint_interval);
  require(options.schedule.warmup_steps >= 0 && options.schedule.warmup_steps <= options.schedule.steps,
          fmt::format("warm-up must lie in [0, {}] steps", options.schedule.steps), options.schedule.warmup_steps);
  if (options.random_weights) {
    require(std::isfinite(*options.random_weights) && *options.random_weights > 0.0,
            "deviation of random weights must be positive", *options.random_weights);
  }
  const auto in_unit = [](double value) { return value >= 0.0 && value < 1.0; };
  require(std::isfinite(options.schedule.peak) && options.schedule.peak > 0.0, "learning rate must be positive",
          options.schedule.peak);
  require(in_unit(options.adamw.beta1), "beta1 must lie in [0, 1)", options.adamw.beta1);
  require(in_unit(options.adamw.beta2), "beta2 must lie in [0, 1)", options.adamw.beta2);
  require(std::isfinite(options.adamw.epsilon) && options.adamw.epsilon > 0.0, "epsilon must be positive",
          options.adamw.epsilon);
  require(std::isfinite(options.adamw.weight_decay) && options.adamw.weight_decay >= 0.0,
          "weight decay must not be negative", options.adamw.weight_decay);
  require(std::isfinite(options.max_gradient_norm) && options.max_gradient_norm >= 0.0,
          "largest gradient norm must not be negative", options.max_gradient_norm);
}

}  // namespace longrope

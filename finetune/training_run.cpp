#include "finetune/training_run.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace longrope {
namespace {

constexpr std::int64_t kTokensAtOnce = 16'384;
constexpr int kShortSettings = 3;

int short_settings_given(const TrainingSettings& settings) {
  return int{settings.short_documents.given()} + int{settings.short_length.given()} +
         int{settings.short_batch_size.given()};
}

}  // namespace

std::optional<ShortSamples> short_samples(const TrainingSettings& settings) {
  if (short_settings_given(settings) < kShortSettings) return std::nullopt;
  return ShortSamples{
      .documents = settings.short_documents, .length = settings.short_length, .batch_size = settings.short_batch_size};
}

std::int64_t micro_batch_size(const TrainingOptions& options, std::int64_t batch_size, std::int64_t length) {
  if (options.settings.micro_batch_size > 0) return options.settings.micro_batch_size;
  const std::int64_t share = batch_size / options.place.count;
  std::int64_t size = std::clamp<std::int64_t>(kTokensAtOnce / length, 1, std::max<std::int64_t>(1, share));
  while (share % size != 0) --size;
  return size;
}

void require_consistent(const TrainingOptions& options) {
  const TrainingSettings& settings = options.settings;
  const auto require = [](bool holds, std::string_view rule, const auto& value) {
    if (!holds) throw InputError(fmt::format("{}: {}", rule, value));
  };
  require(options.length >= 2, "length must be at least 2 tokens", options.length);
  require(!options.factors || options.target_length >= options.length,
          fmt::format("target length must be at least the length of a sample, {}", options.length),
          options.target_length);
  require(settings.steps >= 1, "steps must be positive", settings.steps.value());
  const auto require_shared_evenly = [&](std::int64_t batch_size, std::int64_t length) {
    require(batch_size >= 1, "batch size must be positive", batch_size);
    require(batch_size % options.place.count == 0,
            fmt::format("the number of processes must divide the batch size, {}", batch_size), options.place.count);
    const std::int64_t share = batch_size / options.place.count;
    require(share % micro_batch_size(options, batch_size, length) == 0,
            fmt::format("micro-batch size must divide a process's share of the batch, {}", share),
            settings.micro_batch_size.value());
  };
  require_shared_evenly(settings.batch_size, options.length);
  if (const int given = short_settings_given(settings); given > 0 && given < kShortSettings) {
    throw InputError(
        fmt::format("short_documents, short_length and short_batch_size must be given together: {} of 3", given));
  }
  if (const std::optional<ShortSamples> samples = short_samples(settings)) {
    require(options.factors.has_value(), "short samples belong to a training with factors", "none are given");
    require(samples->length >= 2, "length of short samples must be at least 2 tokens", samples->length);
    require_shared_evenly(samples->batch_size, samples->length);
  }
  require(settings.checkpoint_interval >= 1, "checkpoint interval must be positive",
          settings.checkpoint_interval.value());
  require(settings.warmup_steps >= 0 && settings.warmup_steps <= settings.steps,
          fmt::format("warm-up must lie in [0, {}] steps", settings.steps.value()), settings.warmup_steps.value());
  const auto positive = [](double value) { return std::isfinite(value) && value > 0.0; };
  const auto not_negative = [](double value) { return std::isfinite(value) && value >= 0.0; };
  const auto in_unit = [](double value) { return value >= 0.0 && value < 1.0; };
  if (options.random_weights) {
    require(positive(*options.random_weights), "deviation of random weights must be positive", *options.random_weights);
  }
  require(positive(settings.learning_rate), "learning rate must be positive", settings.learning_rate.value());
  require(in_unit(settings.beta1), "beta1 must lie in [0, 1)", settings.beta1.value());
  require(in_unit(settings.beta2), "beta2 must lie in [0, 1)", settings.beta2.value());
  require(positive(settings.epsilon), "epsilon must be positive", settings.epsilon.value());
  require(not_negative(settings.weight_decay), "weight decay must not be negative", settings.weight_decay.value());
  require(not_negative(settings.max_gradient_norm), "largest gradient norm must not be negative",
          settings.max_gradient_norm.value());
}

}  // namespace longrope

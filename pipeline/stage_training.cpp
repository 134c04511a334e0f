#include "pipeline/stage_training.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>

namespace longrope {
namespace {

std::optional<ShortSamples> short_samples(const FinetuneStage& finetune) {
  constexpr std::array<const char*, 3> kKeys{"short_documents", "short_length", "short_batch_size"};
  const auto given = std::ranges::count_if(kKeys, [&](const char* key) { return finetune.option(key).has_value(); });
  if (given == 0 || (given < std::ssize(kKeys) && !finetune.built_in())) return std::nullopt;
  if (given < std::ssize(kKeys)) {
    throw InputError(
        fmt::format("short_documents, short_length and short_batch_size must be given together: {} of 3", given));
  }
  return ShortSamples{.documents = *finetune.option(kKeys[0]),
                      .length = finetune.number(kKeys[1], 0),
                      .batch_size = finetune.number(kKeys[2], 0)};
}

}  // namespace

TrainingOptions training_options(const Config& config, const PipelineStage& stage) {
  const auto& finetune = std::get<FinetuneStage>(stage.work);
  TrainingOptions options;
  options.documents = finetune.documents;
  options.factors = RescaleFactors{};
  options.target_length = factors_length(config.stages, stage);
  options.length = sample_length(config.stages, stage);
  options.batch_size = finetune.number("batch_size", options.batch_size);
  options.micro_batch_size = finetune.number("micro_batch_size", options.micro_batch_size);
  options.short_samples = short_samples(finetune);
  options.schedule.steps = finetune.number("steps", options.schedule.steps);
  options.schedule.warmup_steps = finetune.number("warmup_steps", options.schedule.warmup_steps);
  const std::optional<std::string> dtype = finetune.option("dtype");
  options.dtype = dtype ? parse_compute_dtype(*dtype) : config.dtype;
  options.recompute = finetune.option("recompute").has_value();
  return options;
}

}  // namespace longrope

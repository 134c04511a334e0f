#include "pipeline/stage_training.h"

#include "pipeline/stage.h"

namespace longrope {

TrainingOptions training_options(const Config& config, const PipelineStage& stage) {
  const auto& finetune = std::get<FinetuneStage>(stage.work);
  TrainingOptions options;
  options.settings = finetune.settings;
  fill_in(options.settings, run_settings(config));
  options.documents = finetune.documents;
  options.length = sample_length(config.stages, stage);
  options.factors = RescaleFactors{};
  options.target_length = factors_length(config.stages, stage);
  if (finetune.built_in()) {
    const std::vector<std::string> devices = stage_devices(config);
    options.device = devices.front();
    options.place.count = static_cast<std::int64_t>(devices.size());
  }
  return options;
}

TrainingSettings run_settings(const Config& config) {
  TrainingSettings settings;
  settings.seed = config.seed;
  settings.dtype = config.dtype;
  settings.angles = config.angles;
  return settings;
}

TrainingSettings recommended_settings() {
  TrainingSettings settings;
  settings.steps = 400;
  settings.batch_size = 32;
  settings.learning_rate = 2e-5;
  settings.schedule = LearningRateShape::kLinear;
  return settings;
}

}  // namespace longrope

#pragma once

#include "config/config.h"
#include "finetune/training_run.h"

namespace longrope {

/// What `longrope finetune` is told by a finetune stage of the pipeline, as far as it is known before the stages before
/// it have run: settings, documents, lengths; that there are factors, but not which; nothing about the model. Its
/// place is that of the first process, where there is one for each device.
[[nodiscard]] TrainingOptions training_options(const Config& config, const PipelineStage& stage);

/// What the configuration says for all fine-tuning stages that do not say it themselves: seed, dtype, angles.
[[nodiscard]] TrainingSettings run_settings(const Config& config);

/// What other trainers are recommended where a stage leaves it open: as LLaMA2-7B was trained (spec §5.2).
[[nodiscard]] TrainingSettings recommended_settings();

}  // namespace longrope

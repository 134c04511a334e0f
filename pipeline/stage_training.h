#pragma once

#include "config/config.h"
#include "finetune/training_run.h"

namespace longrope {

/// What `longrope finetune` is told by a finetune stage of the pipeline, as far as it is known before the stages before
/// it have run: numbers, documents, dtype; of the factors their target length and that there are some, of the model
/// nothing. Throws InputError when the built-in training is given only some of the keys of short samples; for others
/// they are settings like any.
[[nodiscard]] TrainingOptions training_options(const Config& config, const PipelineStage& stage);

}  // namespace longrope

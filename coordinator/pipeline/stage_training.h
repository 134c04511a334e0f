#pragma once

#include "common/config.h"
#include "finetune/training_run.h"

namespace longrope {

/// What `longrope finetune` is told by a finetune stage of the pipeline, as far as it is known before the stages before
/// it have run: numbers, documents, dtype; of the factors their target length and that there are some, of the model
/// nothing. Throws InputError when only some of the keys of short samples are given.
[[nodiscard]] TrainingOptions training_options(const Config& config, const PipelineStage& stage);

}  // namespace longrope

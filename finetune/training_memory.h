#pragma once

#include "common/model/model_description.h"
#include "finetune/training_run.h"

#include <cstdint>

namespace longrope {

/// Rows of the final residual stream whose logits exist at once.
inline constexpr std::int64_t kLossRows = 1024;

/// Bytes of all tensors on one device at the peak of an update's largest micro-batch: parameters, gradients and
/// moments, what TrainingPass keeps for the backward pass, and the logits of kLossRows rows (training_pass.h). A test
/// holds the estimate within 10 % of what Torch allocates on a CPU. `options` need only lengths, batch sizes, dtype,
/// `recompute` and the number of processes.
[[nodiscard]] std::int64_t estimate_training_memory(const ModelDescription& model, const TrainingOptions& options);

}  // namespace longrope

#pragma once

#include "config/training_settings.h"

#include <cstdint>

namespace longrope {

/// The schedules of transformers (get_linear_schedule_with_warmup and its siblings): from 0 to `peak` in
/// `warmup_steps`, then along `shape` to 0 at `steps`, or constant.
struct LearningRateSchedule {
  LearningRateShape shape = LearningRateShape::kLinear;
  double peak = 0.0;
  std::int64_t warmup_steps = 0;
  std::int64_t steps = 0;

  /// Learning rate of update `step` (0-based).
  [[nodiscard]] double at(std::int64_t step) const;
};

[[nodiscard]] LearningRateSchedule learning_rate_schedule(const TrainingSettings& settings);

}  // namespace longrope

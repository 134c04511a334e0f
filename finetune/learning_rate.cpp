#include "finetune/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace longrope {

double LearningRateSchedule::at(std::int64_t step) const {
  if (step < warmup_steps) return peak * static_cast<double>(step) / static_cast<double>(warmup_steps);
  const double done =
      static_cast<double>(step - warmup_steps) / static_cast<double>(std::max<std::int64_t>(1, steps - warmup_steps));
  switch (shape) {
    case LearningRateShape::kLinear:
      return peak * std::max(0.0, 1.0 - done);
    case LearningRateShape::kCosine:
      return peak * 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(1.0, done)));
    case LearningRateShape::kConstant:
      return peak;
  }
  return peak;
}

LearningRateSchedule learning_rate_schedule(const TrainingSettings& settings) {
  return {.shape = settings.schedule,
          .peak = settings.learning_rate,
          .warmup_steps = settings.warmup_steps,
          .steps = settings.steps};
}

}  // namespace longrope

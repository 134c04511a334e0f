#pragma once

#include <cstdint>
#include <string_view>

namespace longrope {

/// How the learning rate changes after the warm-up.
enum class LearningRateShape { kLinear, kCosine, kConstant };

[[nodiscard]] std::string_view to_string(LearningRateShape shape);  // "linear", "cosine", "constant"
/// Throws InputError for a name that is not one of the three.
[[nodiscard]] LearningRateShape parse_learning_rate_shape(std::string_view text);

/// The schedules of transformers (get_linear_schedule_with_warmup and its siblings): from 0 to `peak` in
/// `warmup_steps`, then straight or along half a cosine to 0 at `steps`, or constant.
struct LearningRateSchedule {
  LearningRateShape shape = LearningRateShape::kLinear;
  double peak = 2e-5;
  std::int64_t warmup_steps = 0;
  std::int64_t steps = 0;

  /// Of update `step`, counted from 0.
  [[nodiscard]] double at(std::int64_t step) const;
};

}  // namespace longrope

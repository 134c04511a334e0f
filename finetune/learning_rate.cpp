#include "finetune/learning_rate.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace longrope {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"linear", "cosine", "constant"};  // by LearningRateShape

}  // namespace

std::string_view to_string(LearningRateShape shape) { return kNames.at(static_cast<std::size_t>(shape)); }

LearningRateShape parse_learning_rate_shape(std::string_view text) {
  const auto* const found = std::ranges::find(kNames, text);
  if (found == kNames.end()) throw InputError(fmt::format("schedule must be linear, cosine or constant: {}", text));
  return static_cast<LearningRateShape>(found - kNames.begin());
}

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

}  // namespace longrope

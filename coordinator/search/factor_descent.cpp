#include "coordinator/search/factor_descent.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>

namespace longrope {
namespace {

constexpr double kSmallestMoment = 1e-12;  // keeps a parameter without any gradient where it is

}  // namespace

FactorDescent::FactorDescent(const FactorSpace& space, SpaceParameters start, const DescentOptions& options)
    : space_(space), options_(options), point_(space.project(std::move(start))), scales_(space.scales(point_)) {
  first_moment_.resize(scales_.size());
  second_moment_.resize(scales_.size());
  const std::optional<std::size_t> attention = space.attention_parameter(point_.discrete);
  if (attention && !options.moves_attention) scales_[*attention] = 0.0;
}

void FactorDescent::step(const FactorGradient& gradient) {
  const std::vector<double> by_parameter = space_.chain(point_, gradient);
  const double progress = std::min(1.0, static_cast<double>(taken_) / static_cast<double>(options_.steps));
  const double step_size = options_.step_size * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  ++taken_;
  const double first_bias = 1.0 - std::pow(options_.momentum, static_cast<double>(taken_));
  const double second_bias = 1.0 - std::pow(options_.second_moment_decay, static_cast<double>(taken_));
  for (std::size_t i = 0; i < scales_.size(); ++i) {
    const double own = scales_[i] * by_parameter[i];
    first_moment_[i] = std::lerp(own, first_moment_[i], options_.momentum);
    second_moment_[i] = std::lerp(own * own, second_moment_[i], options_.second_moment_decay);
    const double direction =
        first_moment_[i] / first_bias / (std::sqrt(second_moment_[i] / second_bias) + kSmallestMoment);
    point_.continuous[i] -= step_size * scales_[i] * direction;
  }
  point_ = space_.project(std::move(point_));
}

}  // namespace longrope

#include "coordinator/search/factor_descent.h"

#include "coordinator/search/isotonic_projection.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace longrope {
namespace {

constexpr double kTurn = 0.03;             // c_i of a pair that turns by one radian a token
constexpr double kAttentionFreedom = 0.1;  // of ln m
constexpr double kSmallestMoment = 1e-12;  // keeps a coordinate without any gradient where it is

}  // namespace

FactorDescent::FactorDescent(const std::vector<double>& inverse_frequencies, LogFactors start,
                             const DescentOptions& options)
    : options_(options),
      point_(std::move(start)),
      first_moment_(inverse_frequencies.size() + 1),
      second_moment_(inverse_frequencies.size() + 1) {
  for (const double frequency : inverse_frequencies) freedom_.push_back(std::min(1.0, kTurn / frequency));
  freedom_.push_back(options.moves_attention ? kAttentionFreedom : 0.0);
}

void FactorDescent::step(std::span<const double> gradient) {
  const double progress = static_cast<double>(taken_) / static_cast<double>(options_.steps);
  const double step_size = options_.step_size * 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(1.0, progress)));
  ++taken_;
  const auto count = static_cast<double>(taken_);
  const double first_bias = 1.0 - std::pow(options_.momentum, count);
  const double second_bias = 1.0 - std::pow(options_.second_moment_decay, count);
  std::vector<double> weights;
  for (std::size_t i = 0; i < freedom_.size(); ++i) {
    const double own = freedom_[i] * gradient[i];
    first_moment_[i] = options_.momentum * first_moment_[i] + (1.0 - options_.momentum) * own;
    second_moment_[i] =
        options_.second_moment_decay * second_moment_[i] + (1.0 - options_.second_moment_decay) * own * own;
    const double direction =
        first_moment_[i] / first_bias / (std::sqrt(second_moment_[i] / second_bias) + kSmallestMoment);
    double& coordinate = i < point_.log_lambda.size() ? point_.log_lambda[i] : point_.log_attention;
    coordinate -= step_size * freedom_[i] * direction;
    if (i < point_.log_lambda.size()) weights.push_back(1.0 / (freedom_[i] * freedom_[i]));
  }
  point_.log_lambda = isotonic_projection(point_.log_lambda, weights);
  const double largest = std::log(options_.largest_factor);
  for (double& log_lambda : point_.log_lambda) log_lambda = std::clamp(log_lambda, 0.0, largest);
}

}  // namespace longrope

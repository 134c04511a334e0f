#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace longrope {

/// Factors as a descent moves them.
struct LogFactors {
  std::vector<double> log_lambda;  // [pairs] ln λ over what the checkpoint carries
  double log_attention = 0.0;      // ln m

  bool operator==(const LogFactors&) const = default;
};

struct DescentOptions {
  double step_size = 0.1;             // of the first step, in units of a pair's freedom
  double momentum = 0.8;              // share of the earlier gradients in the direction
  double second_moment_decay = 0.95;  // the same of their squares, which scale it
  std::size_t steps = 1;              // after so many the step size has fallen to zero, along a cosine
  double largest_factor = 1.0;        // λ stays between 1 and this
  bool moves_attention = true;        // false: m stays as it is
};

/// Adam on ln λ and ln m, in coordinates in which pairs are alike (spec, gradient search §3): ln λ_i = start + c_i·u_i,
/// c_i = min(1, 0.03 / f_i), because a pair that turns fast has turned by one radian after a change of ln λ that is
/// thousands of times smaller than that of a slow one. After each step ln λ is projected onto the non-decreasing
/// sequences within bounds, weighted by 1/c_i². Pure and deterministic; not thread-safe.
class FactorDescent {
 public:
  /// `inverse_frequencies` f_i [pairs], those that λ divides.
  FactorDescent(const std::vector<double>& inverse_frequencies, LogFactors start, const DescentOptions& options);

  /// Where the next gradient is to be taken.
  [[nodiscard]] const LogFactors& point() const { return point_; }
  /// `gradient` [pairs + 1] of the mean NLL at point(): with respect to ln λ of each pair, then to ln m.
  void step(std::span<const double> gradient);

 private:
  std::vector<double> freedom_;  // c_i, then that of ln m
  DescentOptions options_;
  LogFactors point_;
  std::vector<double> first_moment_;
  std::vector<double> second_moment_;
  std::size_t taken_ = 0;
};

}  // namespace longrope

#pragma once

#include "coordinator/search/spaces/factor_space.h"

#include <cstddef>
#include <vector>

namespace longrope {

struct DescentOptions {
  double step_size = 0.1;             // of the first step, in units of FactorSpace::scales()
  double momentum = 0.8;              // share of the earlier gradients in the direction
  double second_moment_decay = 0.95;  // the same of their squares, which scale it
  std::size_t steps = 1;              // after so many the step size has fallen to zero, along a cosine
  bool moves_attention = true;        // false: m stays as it is
};

/// Adam on the continuous parameters of a space, in coordinates in which they are alike: a pair that turns fast has
/// turned by one radian after a change of ln λ that is thousands of times smaller than that of a slow one (spec,
/// gradient search §3). Each step ends with the projection into the space. Pure and deterministic; not thread-safe.
class FactorDescent {
 public:
  /// `space` must outlive this object.
  FactorDescent(const FactorSpace& space, SpaceParameters start, const DescentOptions& options);

  /// Where the next gradient is to be taken.
  [[nodiscard]] const SpaceParameters& point() const { return point_; }
  /// `gradient` of the mean NLL at point().
  void step(const FactorGradient& gradient);

 private:
  const FactorSpace& space_;
  DescentOptions options_;
  SpaceParameters point_;
  std::vector<double> scales_;  // of the parameters at the start
  std::vector<double> first_moment_;
  std::vector<double> second_moment_;
  std::size_t taken_ = 0;
};

}  // namespace longrope

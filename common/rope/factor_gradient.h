#pragma once

#include <vector>

namespace longrope {

/// Derivatives of an objective, usually an NLL in nats, with respect to rescale factors (spec, gradient search §1).
/// n̂ has none; positions below it contribute nothing.
struct FactorGradient {
  std::vector<double> log_lambda;  // [pairs] d/d ln λ_i
  double log_attention = 0.0;      // d/d ln m
};

}  // namespace longrope

#pragma once

#include "coordinator/search/spaces/factor_space.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

namespace longrope {

/// LLaMA2 at 4 times its length, with the paper's bound.
inline SpaceSettings llama2_settings() {
  return {
      .geometry = {.rotary_dim = 128, .rope_theta = 1e4, .original_length = 4096}, .ratio = 4.0, .upper_bound = 5.0};
}

/// The bundled model at 8 times its length.
inline SpaceSettings small_settings() {
  return {.geometry = {.rotary_dim = 64, .rope_theta = 1e4, .original_length = 512}, .ratio = 8.0, .upper_bound = 10.0};
}

/// chain() beside central differences of Σ w_i·ln λ_i + w·ln m, for weights of either sign; 1e-6 relative.
inline void expect_chain_is_the_derivative(const FactorSpace& space, const SpaceParameters& parameters) {
  constexpr double kStep = 1e-5;
  for (const double phase : {0.3, 1.1, 2.9}) {
    FactorGradient gradient;
    const std::size_t pairs = space.factors(parameters).lambda.size();
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      gradient.log_lambda.push_back(std::sin(phase * static_cast<double>(pair) + 0.5));
    }
    gradient.log_attention = 0.7 + phase;
    const auto objective = [&](const SpaceParameters& at) {
      const SpaceFactors factors = space.factors(at);
      double sum = gradient.log_attention * std::log(factors.attention_factor);
      for (std::size_t pair = 0; pair < pairs; ++pair) {
        sum += gradient.log_lambda[pair] * std::log(factors.lambda[pair]);
      }
      return sum;
    };
    const std::vector<ContinuousRange> ranges = space.continuous(parameters.discrete);
    const std::vector<double> derivative = space.chain(parameters, gradient);
    ASSERT_EQ(derivative.size(), ranges.size());
    for (std::size_t index = 0; index < ranges.size(); ++index) {
      SpaceParameters less = parameters;
      SpaceParameters more = parameters;
      less.continuous[index] -= kStep;
      more.continuous[index] += kStep;
      const double expected = (objective(more) - objective(less)) / (2.0 * kStep);
      EXPECT_NEAR(derivative[index], expected, 1e-6 * std::abs(expected) + 1e-9) << ranges[index].name;
    }
  }
}

/// The start of a space lies within its bounds and what it gives is monotone; projecting it changes nothing.
inline void expect_start_is_feasible(const FactorSpace& space) {
  const SpaceParameters start = space.start();
  EXPECT_TRUE(space.admits(start.discrete));
  const std::vector<ContinuousRange> ranges = space.continuous(start.discrete);
  ASSERT_EQ(start.continuous.size(), ranges.size());
  for (std::size_t index = 0; index < ranges.size(); ++index) {
    EXPECT_GE(start.continuous[index], ranges[index].lower) << ranges[index].name;
    EXPECT_LE(start.continuous[index], ranges[index].upper) << ranges[index].name;
  }
  const SpaceFactors factors = space.factors(start);
  EXPECT_TRUE(std::ranges::is_sorted(factors.lambda));
  EXPECT_EQ(factors.attention_factor, 1.0);
  EXPECT_EQ(space.project(start), start);
}

inline void expect_lambda(const std::vector<double>& actual, const std::vector<double>& expected, double relative) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t pair = 0; pair < actual.size(); ++pair) {
    EXPECT_NEAR(actual[pair] / expected[pair], 1.0, relative) << "pair " << pair;
  }
}

}  // namespace longrope

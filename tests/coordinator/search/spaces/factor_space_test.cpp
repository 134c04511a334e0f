#include "coordinator/search/spaces/factor_space.h"

#include "tests/coordinator/search/spaces/space_checks.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;

TEST(FactorSpaceTest, EveryNameGivesItsSpace) {
  const auto parameters_of = [](const char* name) {
    return make_factor_space(name, llama2_settings())->start().continuous.size();
  };
  EXPECT_EQ(parameters_of("full"), 65U);
  EXPECT_EQ(parameters_of("theta"), 1U);
  EXPECT_EQ(parameters_of("yarn"), 2U);
  EXPECT_EQ(parameters_of("llama3"), 3U);
  EXPECT_EQ(parameters_of("boundary"), 4U);
  EXPECT_EQ(parameters_of("critical"), 64U - 46U + 1U);
  EXPECT_THAT(refusal([] { (void)make_factor_space("linear", llama2_settings()); }), HasSubstr("critical: linear"));
}

TEST(FactorSpaceTest, OnlySpacesWithAnMHaveAParameterForIt) {
  const auto parameter_of = [](const char* name) {
    const auto space = make_factor_space(name, llama2_settings());
    return space->attention_parameter(space->start().discrete);
  };
  EXPECT_EQ(parameter_of("full"), 64U);
  EXPECT_EQ(parameter_of("yarn"), 1U);
  EXPECT_EQ(parameter_of("boundary"), 3U);
  EXPECT_EQ(parameter_of("critical"), 64U - 46U);
  EXPECT_EQ(parameter_of("theta"), std::nullopt);
  EXPECT_EQ(parameter_of("llama3"), std::nullopt);
}

TEST(FactorSpaceTest, ScalesOfEveryPairAreTheConditioningOfTheSpec) {
  const SpaceSettings settings = small_settings();
  const auto space = make_factor_space("full", settings);
  const std::vector<double> scales = space->scales(space->start());
  for (std::size_t pair = 0; pair < 32; ++pair) {
    const double frequency = std::pow(1e4, -2.0 * static_cast<double>(pair) / 64.0);
    EXPECT_NEAR(scales[pair], std::min(1.0, 0.03 / frequency), 1e-14) << pair;
  }
  EXPECT_DOUBLE_EQ(scales.back(), 0.1);
}

TEST(FactorSpaceTest, OneScaleIsOneUnitOfConditionedMotion) {
  // Checked by moving: |Δ ln λ_i / c_i, Δ ln m / 0.1| for a thousandth of a scale.
  for (const char* name : {"theta", "yarn", "llama3", "boundary", "critical"}) {
    const SpaceSettings settings = small_settings();
    const auto space = make_factor_space(name, settings);
    SpaceParameters start = space->start();
    if (name == std::string("llama3")) start.continuous[1] = std::log(1.3);  // away from a pair at the rule's kink
    const std::vector<double> scales = space->scales(start);
    const SpaceFactors from = space->factors(start);
    const std::vector<double> frequencies = inverse_frequencies(settings.geometry);
    for (std::size_t index = 0; index < scales.size(); ++index) {
      SpaceParameters moved = start;
      moved.continuous[index] += 1e-3 * scales[index];
      const SpaceFactors to = space->factors(moved);
      double sum = std::pow(std::log(to.attention_factor / from.attention_factor) / 0.1, 2.0);
      for (std::size_t pair = 0; pair < 32; ++pair) {
        const double unit = std::min(1.0, 0.03 / frequencies[pair]);
        sum += std::pow(std::log(to.lambda[pair] / from.lambda[pair]) / unit, 2.0);
      }
      EXPECT_NEAR(std::sqrt(sum), 1e-3, 1e-5) << name << ", parameter " << index;
    }
  }
}

TEST(FactorSpaceTest, ScaleOfAParameterWithoutEffectIsItsWidth) {
  SpaceSettings settings = small_settings();
  settings.ratio = 1.0;  // λ = 1 whatever the weights are
  const auto space = make_factor_space("boundary", settings);
  const std::vector<double> scales = space->scales(space->start());
  EXPECT_DOUBLE_EQ(scales[0], 1.0 - 1e-6);
  EXPECT_DOUBLE_EQ(scales[1], 1.0 - 1e-6);
}

TEST(FactorSpaceTest, ProjectionIsWeightedMonotoneAndWithinTheBounds) {
  const auto space = make_factor_space("full", small_settings());
  SpaceParameters parameters = space->start();
  parameters.continuous[0] = -0.5;
  parameters.continuous[10] = 1.0;  // c = 0.03/1e4^(−20/64): the violation is shared by 1/c², 1 : 10^(−1/4)
  parameters.continuous[11] = 0.0;
  for (std::size_t pair = 12; pair < 32; ++pair) parameters.continuous[pair] = 1.5;
  parameters.continuous[31] = 99.0;
  parameters.continuous[32] = -99.0;
  for (std::size_t pair = 1; pair < 10; ++pair) parameters.continuous[pair] = 0.01;
  const SpaceParameters projected = space->project(parameters);
  EXPECT_EQ(projected.continuous[0], 0.0);
  EXPECT_EQ(projected.continuous[5], 0.01);
  // f_10/f_11 = 1e4^(2/64), so c_11² = c_10²·1e4^(4/64) and the weight of pair 11 is 1e4^(−4/64) of pair 10's.
  const double shared = 1.0 / (1.0 + std::pow(1e4, -4.0 / 64.0));
  EXPECT_NEAR(projected.continuous[10], shared, 1e-12);
  EXPECT_NEAR(projected.continuous[11], shared, 1e-12);
  EXPECT_EQ(projected.continuous[20], 1.5);
  EXPECT_EQ(projected.continuous[31], std::log(10.0));
  EXPECT_EQ(projected.continuous[32], std::log(0.5));
  EXPECT_EQ(space->project(projected), projected);
}

TEST(FactorSpaceTest, ProjectionOfCriticalKeepsItsPair) {
  const auto space = make_factor_space("critical", small_settings());
  SpaceParameters parameters = space->start();
  parameters.continuous[3] = 0.1;  // far below its neighbours
  const SpaceParameters projected = space->project(parameters);
  EXPECT_EQ(projected.discrete, parameters.discrete);
  EXPECT_TRUE(std::ranges::is_sorted(space->factors(projected).lambda));
}

TEST(FactorSpaceTest, ParametersOfAnotherShapeAreRefused) {
  const auto space = make_factor_space("full", small_settings());
  SpaceParameters parameters = space->start();
  EXPECT_THAT(refusal([&] { (void)space->chain(parameters, {.log_lambda = {1.0}}); }),
              HasSubstr("gradient must have one entry for each of 32 pairs: 1"));
  EXPECT_THAT(refusal([&] { (void)space->continuous({3}); }), HasSubstr("no discrete parameters"));
  parameters.continuous[4] = std::numeric_limits<double>::infinity();
  EXPECT_THAT(refusal([&] { (void)space->factors(parameters); }), HasSubstr("ln_lambda_4 must be finite: inf"));
  parameters.continuous.pop_back();
  EXPECT_THAT(refusal([&] { (void)space->project(parameters); }), HasSubstr("33 continuous parameters: 32"));
}

TEST(FactorSpaceTest, SettingsOutOfRangeAreRefused) {
  SpaceSettings settings = small_settings();
  settings.ratio = 0.5;
  EXPECT_THAT(refusal([&] { (void)make_factor_space("yarn", settings); }), HasSubstr("ratio must be"));
  settings = small_settings();
  settings.upper_bound = 1.0;
  EXPECT_THAT(refusal([&] { (void)make_factor_space("yarn", settings); }), HasSubstr("upper_bound must be"));
  settings = small_settings();
  settings.geometry.rotary_dim = 7;
  EXPECT_THAT(refusal([&] { (void)make_factor_space("critical", settings); }), HasSubstr("rotary_dim must be"));
}

}  // namespace
}  // namespace longrope

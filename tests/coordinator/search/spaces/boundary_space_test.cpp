#include "coordinator/search/spaces/boundary_space.h"

#include "common/rope/band_factors.h"
#include "tests/coordinator/search/spaces/space_checks.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;

TEST(BoundarySpaceTest, StartsFromBm) {
  for (const SpaceSettings& settings : {llama2_settings(), small_settings()}) {
    const auto space = boundary_space(settings);
    expect_start_is_feasible(*space);
    expect_lambda(space->factors(space->start()).lambda, bm_factors(settings.geometry, settings.ratio), 1e-12);
  }
}

TEST(BoundarySpaceTest, WithoutAlphaItIsTailSplineUpToTheTopMultiplier) {
  const SpaceSettings settings = llama2_settings();
  const auto space = boundary_space(settings);
  const SpaceFactors factors =
      space->factors({.discrete = {20, 46}, .continuous = {0.0, 0.5, std::log(1.2), std::log(1.05)}});
  expect_lambda(factors.lambda, tail_spline_factors(settings.geometry, 1.2 * 4.0), 1e-12);
  EXPECT_DOUBLE_EQ(factors.attention_factor, 1.05);
}

TEST(BoundarySpaceTest, ItsChainIsTheDerivative) {
  for (const SpaceSettings& settings : {llama2_settings(), small_settings()}) {
    const auto space = boundary_space(settings);
    for (const auto& band : std::vector<std::vector<std::int64_t>>{{-1, 0}, {-1, 3}, {3, 16}, {5, 32}, {30, 32}}) {
      for (const double alpha : {0.02, 0.4, 0.93}) {
        for (const double beta : {0.05, 0.7}) {
          expect_chain_is_the_derivative(
              *space, {.discrete = band, .continuous = {alpha, beta, std::log(1.1), std::log(0.97)}});
        }
      }
    }
  }
}

TEST(BoundarySpaceTest, EveryPointWithinTheBoundsIsMonotoneAndBelowTheUpperBound) {
  const auto space = boundary_space(small_settings());
  const std::vector<ContinuousRange> ranges = space->continuous({3, 16});
  for (std::size_t corner = 0; corner < 16; ++corner) {
    SpaceParameters parameters{.discrete = {3, 16}, .continuous = {}};
    for (std::size_t index = 0; index < ranges.size(); ++index) {
      parameters.continuous.push_back((corner >> index & 1U) != 0 ? ranges[index].upper : ranges[index].lower);
    }
    const std::vector<double> lambda = space->factors(parameters).lambda;
    EXPECT_TRUE(std::ranges::is_sorted(lambda)) << corner;
    EXPECT_GE(lambda.front(), 1.0) << corner;
    EXPECT_LE(lambda.back(), 10.0 * (1.0 + 1e-12)) << corner;
  }
}

TEST(BoundarySpaceTest, ModelWhosePairsAllRotateStartsWithinTheBounds) {
  SpaceSettings settings = small_settings();
  settings.geometry = {.rotary_dim = 8, .rope_theta = 2.0, .original_length = 65536};
  expect_start_is_feasible(*boundary_space(settings));
}

TEST(BoundarySpaceTest, BandsWithoutAStepAreRefused) {
  const auto space = boundary_space(small_settings());
  EXPECT_TRUE(space->admits({-1, 0}));
  EXPECT_TRUE(space->admits({30, 32}));
  for (const auto& band : std::vector<std::vector<std::int64_t>>{{3, 3}, {16, 3}, {-2, 3}, {3, 33}}) {
    EXPECT_THAT(refusal([&] { (void)space->continuous(band); }),
                HasSubstr("last_kept from -1 to 30 and first_full from 0 to 32, in rising order"));
  }
}

}  // namespace
}  // namespace longrope

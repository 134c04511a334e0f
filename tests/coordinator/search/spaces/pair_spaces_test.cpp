#include "coordinator/search/spaces/pair_spaces.h"

#include "tests/coordinator/search/spaces/space_checks.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;

TEST(PairSpacesTest, StartsAreYarnAndNtkBelowTheCriticalPair) {
  const SpaceSettings settings = llama2_settings();
  const auto full = full_space(settings);
  const auto critical = critical_space(settings);
  expect_start_is_feasible(*full);
  expect_start_is_feasible(*critical);
  expect_lambda(full->factors(full->start()).lambda, yarn_factors(settings.geometry, 4.0), 1e-14);
  EXPECT_EQ(critical->start().discrete, (std::vector<std::int64_t>{46}));
  std::vector<double> ntk;
  for (int pair = 0; pair < 64; ++pair) ntk.push_back(std::pow(4.0, std::min(1.0, pair / 46.0)));
  expect_lambda(critical->factors(critical->start()).lambda, ntk, 1e-14);
}

TEST(PairSpacesTest, FullGivesEveryPairItsNumber) {
  const auto space = full_space(small_settings());
  SpaceParameters parameters = space->start();
  ASSERT_EQ(parameters.continuous.size(), 33U);
  parameters.continuous[7] = std::log(1.75);
  parameters.continuous[32] = std::log(1.03);
  EXPECT_DOUBLE_EQ(space->factors(parameters).lambda[7], 1.75);
  EXPECT_DOUBLE_EQ(space->factors(parameters).attention_factor, 1.03);
  expect_chain_is_the_derivative(*space, parameters);
}

TEST(PairSpacesTest, CriticalLetsPairsBelowFollowNtk) {
  const auto space = critical_space(small_settings());
  for (const std::int64_t critical : {1, 9, 16, 31}) {
    SpaceParameters parameters{.discrete = {critical}, .continuous = {}};
    for (std::int64_t pair = critical; pair < 32; ++pair) {
      parameters.continuous.push_back(std::log(7.0 + 0.05 * static_cast<double>(pair)));
    }
    parameters.continuous.push_back(std::log(1.04));
    const SpaceFactors factors = space->factors(parameters);
    const double at_critical = 7.0 + 0.05 * static_cast<double>(critical);
    for (std::int64_t pair = 0; pair < 32; ++pair) {
      const auto index = static_cast<double>(pair);
      const double expected =
          pair < critical ? std::pow(at_critical, index / static_cast<double>(critical)) : 7.0 + 0.05 * index;
      EXPECT_NEAR(factors.lambda[static_cast<std::size_t>(pair)] / expected, 1.0, 1e-13) << critical << ", " << pair;
    }
    EXPECT_DOUBLE_EQ(factors.attention_factor, 1.04);
    expect_chain_is_the_derivative(*space, parameters);
  }
}

TEST(PairSpacesTest, CriticalPairOutsideTheModelIsNotAdmitted) {
  const auto space = critical_space(small_settings());
  EXPECT_FALSE(space->admits({0}));
  EXPECT_FALSE(space->admits({32}));
  EXPECT_FALSE(space->admits({}));
  EXPECT_THAT(refusal([&] { (void)space->continuous({32}); }), HasSubstr("critical_pair from 1 to 31"));
}

TEST(PairSpacesTest, CriticalPairBeyondTheModelStartsAtTheLast) {
  SpaceSettings settings = small_settings();
  settings.geometry.original_length = 1'000'000;  // every pair rotates many times
  EXPECT_EQ(critical_space(settings)->start().discrete, (std::vector<std::int64_t>{31}));
}

}  // namespace
}  // namespace longrope

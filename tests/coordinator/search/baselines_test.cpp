#include "coordinator/search/baselines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::Each;
using testing::ElementsAre;

constexpr RotaryGeometry kGeometry{.rotary_dim = 16, .rope_theta = 10000.0, .original_length = 512};

std::vector<std::string> origins(const std::vector<Baseline>& baselines) {
  std::vector<std::string> names;
  for (const Baseline& baseline : baselines) names.push_back(baseline.origin);
  return names;
}

RopeScaling unscaled() { return {.type = "default", .reached_length = 512}; }

/// A checkpoint that was trained with λ = 2 and m = 1.07.
RopeScaling scaled() {
  const RescaleFactors own = exact_factors(std::vector<double>(8, 2.0), 0, {AttentionPolicy::kValue, 1.07});
  return {.type = "longrope", .up_to_original = own, .beyond_original = own, .reached_length = 1024};
}

TEST(BaselinesTest, ClosedFormWithAnAttentionFactorIsThereOnceMoreWithoutIt) {
  const std::vector<Baseline> baselines = stage_baselines(kGeometry, unscaled(), 2048);
  EXPECT_THAT(origins(baselines), ElementsAre("none", "pi", "ntk", "yarn", "yarn-m1"));
  EXPECT_NEAR(baselines[3].factors.attention.value, 1.0 + 0.1 * std::log(4.0), 1e-15);
  EXPECT_EQ(baselines[4].factors.attention.value, 1.0);
  EXPECT_EQ(baselines[4].factors.lambda, baselines[3].factors.lambda);
}

TEST(BaselinesTest, OnACheckpointWithAnAttentionFactorEveryClosedFormIsThereWithoutIt) {
  const std::vector<Baseline> baselines = stage_baselines(kGeometry, scaled(), 2048);
  EXPECT_THAT(origins(baselines), ElementsAre("none", "pi", "ntk", "yarn", "pi-m1", "ntk-m1", "yarn-m1"));
  EXPECT_EQ(baselines[0].factors.attention.value, 1.07) << "the checkpoint as it is";
  EXPECT_EQ(baselines[4].factors.attention.value, 1.0);
  EXPECT_THAT(baselines[4].factors.lambda, Each(4.0));
}

TEST(BaselinesTest, ExportedWinnerGivesShortTextsTheCheckpointsLambdaUnderItsAttentionFactor) {
  const RescaleFactors winner = exact_factors(std::vector<double>(8, 5.0), 0, {AttentionPolicy::kSu, 1.25});
  const RescaleFactors plain = untouched_with_attention_of(winner, kGeometry, unscaled()).value();
  EXPECT_THAT(plain.lambda, Each(1.0));
  EXPECT_EQ(plain.attention, winner.attention);
  EXPECT_THAT(untouched_with_attention_of(winner, kGeometry, scaled()).value().lambda, Each(2.0));
}

TEST(BaselinesTest, NothingIsComparedWhereTheAttentionFactorIsKeptOrNoEngineCanExpressTheWinner) {
  RescaleFactors winner = exact_factors(std::vector<double>(8, 5.0), 0, {});
  EXPECT_FALSE(untouched_with_attention_of(winner, kGeometry, unscaled())) << "m = 1 is kept";
  winner.attention = {AttentionPolicy::kValue, 1.07};
  EXPECT_FALSE(untouched_with_attention_of(winner, kGeometry, scaled())) << "m = 1.07 is kept";
  winner.attention.value = 1.25;
  winner.n_hat = 4;
  EXPECT_FALSE(untouched_with_attention_of(winner, kGeometry, unscaled()));
  winner.n_hat = 0;
  RopeScaling two_tables = scaled();
  two_tables.up_to_original.lambda.assign(8, 1.0);
  EXPECT_TRUE(untouched_with_attention_of(winner, kGeometry, two_tables));
  two_tables.reached_length = 512;
  EXPECT_FALSE(untouched_with_attention_of(winner, kGeometry, two_tables)) << "its short table is not exported";
}

}  // namespace
}  // namespace longrope

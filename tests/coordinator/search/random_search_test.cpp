#include "coordinator/search/random_search.h"

#include "tests/coordinator/search/synthetic_search.h"

#include <gtest/gtest.h>

#include <set>

namespace longrope {
namespace {

SearchConfig random_config() {
  SearchConfig config;
  config.method = SearchMethod::kRandom;
  return config;
}

TEST(RandomSearchTest, SeedsComeFirstAndTheRestIsRandom) {
  const Trace trace = run_search(random_config(), 20);
  EXPECT_EQ(trace.candidates[0].origin, "seed:pi");
  EXPECT_EQ(trace.candidates[1].origin, "seed:ntk");
  EXPECT_EQ(trace.candidates[2].origin, "seed:yarn");
  for (std::size_t k = 3; k < 20; ++k) {
    EXPECT_EQ(trace.candidates[k].origin, "random");
    EXPECT_TRUE(trace.candidates[k].parents.empty());
  }
}

TEST(RandomSearchTest, NeedsNoResults) {
  const SearchConfig config = random_config();
  const RandomSearch search(config, synthetic_space(config), 1, "stage");
  EXPECT_EQ(search.results_needed(0), 0U);
  EXPECT_EQ(search.results_needed(100000), 0U);
}

TEST(RandomSearchTest, PairsAreOrderStatisticsOfUniformSteps) {
  SearchConfig config = random_config();
  config.seeds = {};
  RandomSearch search(config, synthetic_space(config, 8), 1, "stage");
  constexpr std::size_t kDraws = 4000;
  const Trace trace = run_search(search, kDraws);
  ASSERT_EQ(trace.candidates.size(), kDraws);
  for (std::size_t pair = 0; pair < 4; ++pair) {
    double mean = 0.0;
    for (const Candidate& candidate : trace.candidates) {
      mean += candidate.factors.lambda[pair] / static_cast<double>(kDraws);
    }
    // The i-th smallest of 4 uniform draws on [1, 5] has mean 1 + 4·i/5 and deviation at most 0.8: five errors = 0.063;
    // the grid adds at most half a step.
    EXPECT_NEAR(mean, 1.0 + 4.0 * static_cast<double>(pair + 1) / 5.0, 0.07);
  }
}

TEST(RandomSearchTest, NHatAndPolicyAreDrawnFromTheirChoices) {
  SearchConfig config = random_config();
  config.n_hat_choices = {0, 4, 16};
  config.attention_policies = {AttentionPolicy::kSu, AttentionPolicy::kNone};
  std::set<std::pair<std::int64_t, AttentionPolicy>> drawn;
  for (const Candidate& candidate : run_search(config, 200).candidates) {
    drawn.emplace(candidate.factors.n_hat, candidate.factors.attention.policy);
  }
  EXPECT_EQ(drawn.size(), 6U);
}

}  // namespace
}  // namespace longrope

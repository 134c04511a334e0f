#include "coordinator/search/longrope_search.h"

#include "tests/coordinator/search/synthetic_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string>

namespace longrope {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

SearchConfig small_config() {
  SearchConfig config;
  config.population_size = 8;
  config.num_mutations = 3;
  config.num_crossovers = 2;
  config.num_iterations = 6;
  config.num_parents = 4;
  return config;
}

SearchConfig authors_config() {
  SearchConfig config;
  config.method = SearchMethod::kAuthors;
  return config;
}

LongropeSearch make(const SearchConfig& config, std::uint64_t seed = 1, const std::string& stage = "stage") {
  return {config, synthetic_space(config), seed, stage};
}

bool starts_with(const std::string& text, std::string_view prefix) { return text.rfind(prefix, 0) == 0; }

/// Reference: the indices among the first `told` results that may be parents, by sorting everything anew.
std::set<std::size_t> expected_parents(const Trace& trace, std::size_t told, std::size_t num_parents) {
  std::vector<std::size_t> order;
  for (std::size_t index = 0; index < told; ++index) {
    if (trace.results[index] < kInfinity) {
      order.push_back(index);
    }
  }
  std::ranges::stable_sort(order, {}, [&](std::size_t index) { return trace.results[index]; });
  order.resize(std::min(order.size(), num_parents));
  return {order.begin(), order.end()};
}

void expect_parents_among_top(const SearchConfig& config, const Trace& trace, const LongropeSearch& search) {
  for (std::size_t k = static_cast<std::size_t>(config.population_size); k < trace.candidates.size(); ++k) {
    const std::set<std::size_t> top =
        expected_parents(trace, search.results_needed(k), static_cast<std::size_t>(config.num_parents));
    for (const std::size_t parent : trace.candidates[k].parents) {
      EXPECT_TRUE(top.contains(parent)) << "candidate " << k << ", parent " << parent;
    }
  }
}

TEST(LongropeSearchTest, GenerationNeedsAllOfThePreviousGenerations) {
  const LongropeSearch search = make(small_config());
  EXPECT_EQ(search.results_needed(0), 0U);
  EXPECT_EQ(search.results_needed(7), 0U);
  EXPECT_EQ(search.results_needed(8), 8U);
  EXPECT_EQ(search.results_needed(12), 8U);
  EXPECT_EQ(search.results_needed(13), 13U);
  EXPECT_EQ(search.results_needed(18), 18U);
}

TEST(LongropeSearchTest, SteadyStateNeedsCandidatesUpToTheLag) {
  SearchConfig config = small_config();
  config.generational = false;
  config.lag = 3;
  const LongropeSearch search = make(config);
  EXPECT_EQ(search.results_needed(7), 0U);
  EXPECT_EQ(search.results_needed(8), 6U);  // candidates 0 … 5 = 8 − 3
  EXPECT_EQ(search.results_needed(9), 7U);
  config.lag = 20;
  const LongropeSearch slow = make(config);
  EXPECT_EQ(slow.results_needed(8), 0U);
  EXPECT_EQ(slow.results_needed(19), 0U);
  EXPECT_EQ(slow.results_needed(20), 1U);
}

TEST(LongropeSearchTest, InitialPopulationIsSeedsThenMutantsOfSeeds) {
  const SearchConfig config = small_config();
  const Trace trace = run_search(config, 8);
  EXPECT_EQ(trace.candidates[0].origin, "seed:pi");
  EXPECT_EQ(trace.candidates[1].origin, "seed:ntk");
  EXPECT_EQ(trace.candidates[2].origin, "seed:yarn");
  for (std::size_t k = 3; k < 8; ++k) {
    EXPECT_EQ(trace.candidates[k].origin, "mutation");
    ASSERT_EQ(trace.candidates[k].parents.size(), 1U);
    EXPECT_LT(trace.candidates[k].parents[0], 3U);
  }
}

TEST(LongropeSearchTest, IterationIsMutationsThenCrossovers) {
  const Trace trace = run_search(small_config(), 38);
  for (std::size_t k = 8; k < trace.candidates.size(); ++k) {
    EXPECT_TRUE(starts_with(trace.candidates[k].origin, (k - 8) % 5 < 3 ? "mutation" : "crossover:")) << k;
  }
}

TEST(LongropeSearchTest, AllSeedsAreAskedWhenTheyAreMoreThanThePopulation) {
  SearchConfig config = small_config();
  config.population_size = 4;
  config.attention_policies = {AttentionPolicy::kSu, AttentionPolicy::kYarn, AttentionPolicy::kNone};
  LongropeSearch search = make(config);
  EXPECT_EQ(search.results_needed(8), 0U);
  EXPECT_EQ(search.results_needed(9), 9U);
  const Trace trace = run_search(search, 14);
  for (std::size_t k = 0; k < 9; ++k) {
    EXPECT_TRUE(starts_with(trace.candidates[k].origin, "seed:"));
  }
  EXPECT_EQ(trace.candidates[9].origin, "mutation");
}

TEST(LongropeSearchTest, ParentsAreTheTopKOfEverythingTold) {
  const SearchConfig config = small_config();
  LongropeSearch search = make(config);
  const Trace trace = run_search(search, 38);
  expect_parents_among_top(config, trace, search);
}

TEST(LongropeSearchTest, SteadyStateParentsAreAtLeastTheLagBehind) {
  SearchConfig config = small_config();
  config.generational = false;
  config.lag = 5;
  LongropeSearch search = make(config);
  const Trace trace = run_search(search, 100);
  ASSERT_EQ(trace.candidates.size(), 100U);
  expect_parents_among_top(config, trace, search);
  for (std::size_t k = 8; k < 100; ++k) {
    for (const std::size_t parent : trace.candidates[k].parents) {
      EXPECT_LE(parent + 5, k);
    }
  }
}

TEST(LongropeSearchTest, LagLongerThanThePopulationMutatesSeedsUntilResultsCome) {
  SearchConfig config = small_config();
  config.generational = false;
  config.lag = 20;
  const Trace trace = run_search(config, 60);
  ASSERT_EQ(trace.candidates.size(), 60U);
  for (std::size_t k = 8; k < 20; ++k) {
    EXPECT_EQ(trace.candidates[k].origin, "mutation");
    EXPECT_LT(trace.candidates[k].parents.at(0), 3U);
  }
}

TEST(LongropeSearchTest, InfinityIsNeverBredFrom) {
  const Fitness every_other_fails = [calls = 0](const RescaleFactors& factors) mutable {
    return calls++ % 2 == 0 ? kInfinity : quadratic_fitness(factors);
  };
  const SearchConfig config = small_config();
  const Trace trace = run_search(config, 38, every_other_fails);
  ASSERT_EQ(trace.candidates.size(), 38U);
  for (std::size_t k = 8; k < 38; ++k) {
    for (const std::size_t parent : trace.candidates[k].parents) {
      EXPECT_LT(trace.results[parent], kInfinity);
    }
  }
}

TEST(LongropeSearchTest, SeedsAreMutatedWhileNothingIsFinite) {
  const Trace trace = run_search(small_config(), 38, [](const RescaleFactors&) { return kInfinity; });
  ASSERT_EQ(trace.candidates.size(), 38U);
  for (std::size_t k = 8; k < 38; ++k) {
    EXPECT_EQ(trace.candidates[k].origin, "mutation");
    EXPECT_LT(trace.candidates[k].parents.at(0), 3U);
  }
}

TEST(LongropeSearchTest, FailedCrossoverFallsBackToAMutantOfTheBetterParent) {
  SearchConfig config = small_config();
  config.num_parents = 2;  // the pair is always the best two
  config.max_crossover_tries = 0;
  LongropeSearch search = make(config);
  const Trace trace = run_search(search, 38);
  int fallbacks = 0;
  for (std::size_t k = 8; k < 38; ++k) {
    if ((k - 8) % 5 < 3) {
      continue;
    }
    ++fallbacks;
    EXPECT_EQ(trace.candidates[k].origin, "crossover:mutation");
    ASSERT_EQ(trace.candidates[k].parents.size(), 1U);
    EXPECT_EQ(std::set<std::size_t>{trace.candidates[k].parents[0]},
              expected_parents(trace, search.results_needed(k), 1));
  }
  EXPECT_EQ(fallbacks, 12);
}

TEST(LongropeSearchTest, BothCrossoverStrategiesGiveChildren) {
  std::set<std::string> origins;
  for (const Candidate& candidate : run_search(SearchConfig{}, 1344).candidates) {
    origins.insert(candidate.origin);
  }
  EXPECT_TRUE(origins.contains("crossover:uniform"));
  EXPECT_TRUE(origins.contains("crossover:two-point"));
}

TEST(LongropeSearchTest, FixedNHatAndPolicyStay) {
  for (const Candidate& candidate : run_search(small_config(), 38).candidates) {
    EXPECT_EQ(candidate.factors.n_hat, 0);
    EXPECT_EQ(candidate.factors.attention.policy, AttentionPolicy::kSu);
  }
}

TEST(LongropeSearchTest, SearchedNHatAndPolicyVaryWithinTheirChoices) {
  SearchConfig config;
  config.n_hat_choices = {0, 4, 16, 64};
  config.attention_policies = {AttentionPolicy::kSu, AttentionPolicy::kYarn};
  std::set<std::int64_t> n_hats;
  std::set<AttentionPolicy> policies;
  for (const Candidate& candidate : run_search(config, 200).candidates) {
    n_hats.insert(candidate.factors.n_hat);
    policies.insert(candidate.factors.attention.policy);
  }
  EXPECT_EQ(n_hats, (std::set<std::int64_t>{0, 4, 16, 64}));
  EXPECT_EQ(policies, (std::set<AttentionPolicy>{AttentionPolicy::kSu, AttentionPolicy::kYarn}));
}

TEST(LongropeSearchTest, ExactPublishedSeedIsAskedAsItIsAndItsMutantsAreInTheSpace) {
  SearchConfig config = small_config();
  config.seeds = {};
  SearchSpace space = synthetic_space(config, 8);
  const RescaleFactors published =
      exact_factors({0.9978, 1.23456, 2.0, 7.5}, 12, {.policy = AttentionPolicy::kNone, .value = 1.0});
  space.published_seeds = {published};
  LongropeSearch search(config, space, 1, "stage");
  const Trace trace = run_search(search, 20);
  ASSERT_EQ(trace.candidates.size(), 20U);
  EXPECT_EQ(trace.candidates[0].factors, published);
  for (std::size_t k = 1; k < 20; ++k) {
    const RescaleFactors& factors = trace.candidates[k].factors;
    EXPECT_EQ(factors.grid_steps.size(), 4U);
    EXPECT_LE(factors.lambda.back(), space.grid.upper_bound);
    EXPECT_EQ(factors.n_hat, 0);
    EXPECT_EQ(factors.attention.policy, AttentionPolicy::kSu);
  }
}

TEST(LongropeSearchTest, StageNameChangesTheRandomNumbers) {
  const SearchConfig config = small_config();
  LongropeSearch first = make(config, 1, "128k");
  LongropeSearch second = make(config, 1, "256k");
  EXPECT_NE(factors_of(run_search(first, 38)), factors_of(run_search(second, 38)));
}

TEST(LongropeSearchTest, BlockMovesAreOffByDefaultAndUsedWhenAsked) {
  const auto is_block_move = [](const Candidate& candidate) {
    return candidate.origin.ends_with("mutation:block") || candidate.origin.ends_with("mutation:power");
  };
  EXPECT_TRUE(std::ranges::none_of(run_search(small_config(), 38).candidates, is_block_move));
  SearchConfig config = small_config();
  config.block_move_probability = 0.5;
  EXPECT_TRUE(std::ranges::any_of(run_search(config, 38).candidates, is_block_move));
}

TEST(AuthorsSearchTest, InitialPopulationIsTheRampAndItsMutants) {
  const Trace trace = run_search(authors_config(), 64);
  EXPECT_EQ(trace.candidates[0].origin, "seed:ramp");
  for (std::size_t pair = 0; pair < 64; ++pair) {
    const double ramp = std::clamp((static_cast<double>(pair) - 20.0) / 26.0, 0.0, 1.0);
    EXPECT_NEAR(trace.candidates[0].factors.lambda[pair], 4.0 * ramp + 1.0 - ramp, 0.005 + 1e-9);
  }
  for (std::size_t k = 1; k < 64; ++k) {
    EXPECT_EQ(trace.candidates[k].origin, "mutation");
    EXPECT_EQ(trace.candidates[k].parents, (std::vector<std::size_t>{0}));
  }
}

TEST(AuthorsSearchTest, GivenArrayReplacesTheRampUnderSu) {
  const SearchConfig config = authors_config();
  SearchSpace space = synthetic_space(config, 8);
  space.published_seeds = {exact_factors({1.0, 1.234, 2.0, 4.0}, 0, {})};
  const std::unique_ptr<SearchAlgorithm> search = make_search_algorithm(config, space, {}, 1, "stage");
  const std::optional<Candidate> first = search->ask(0);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->factors.lambda, space.published_seeds[0].lambda);
  EXPECT_EQ(first->factors.attention.policy, AttentionPolicy::kSu);
}

TEST(AuthorsSearchTest, CrossoversAreTheReleasedOnes) {
  for (const Candidate& candidate : run_search(authors_config(), 1344).candidates) {
    const std::set<std::string> allowed = {"seed:ramp", "mutation", "crossover:released", "crossover:mutation"};
    EXPECT_TRUE(allowed.contains(candidate.origin)) << candidate.origin;
    EXPECT_EQ(candidate.factors.attention.policy, AttentionPolicy::kSu);
  }
}

TEST(AuthorsSearchTest, PairZeroNeverRisesToPairOne) {
  // λ_0 = λ_1 = 1 in the ramp: the released window of pair 0 is empty until pair 1 has risen, and excludes it then.
  const Trace trace = run_search(authors_config(), 64);
  for (const Candidate& candidate : trace.candidates) {
    const std::vector<std::int32_t>& steps = candidate.factors.grid_steps;
    EXPECT_TRUE(steps[0] == 0 || steps[0] < steps[1]);
  }
}

}  // namespace
}  // namespace longrope

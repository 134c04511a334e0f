#include "coordinator/search/search_algorithm.h"

#include "common/error.h"
#include "tests/coordinator/search/synthetic_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>

namespace longrope {
namespace {

constexpr std::size_t kPaperBudget = 64 + 40 * 32;

struct Variant {
  std::string name;
  SearchMethod method = SearchMethod::kLongrope;
  bool generational = true;
  std::int64_t lag = 16;
  double block_move_probability = 0.0;
};
std::ostream& operator<<(std::ostream& out, const Variant& variant) { return out << variant.name; }

SearchConfig config_of(const Variant& variant) {
  SearchConfig config;
  config.method = variant.method;
  config.generational = variant.generational;
  config.lag = variant.lag;
  config.block_move_probability = variant.block_move_probability;
  return config;
}

class EverySearchTest : public testing::TestWithParam<Variant> {
 protected:
  [[nodiscard]] SearchConfig config() const { return config_of(GetParam()); }
};

TEST_P(EverySearchTest, BudgetIsProposedUniqueMonotoneAndInTheSpace) {
  const SearchConfig config = this->config();
  ASSERT_EQ(default_budget(config), kPaperBudget);
  const SearchSpace space = synthetic_space(config);
  const Trace trace = run_search(config, default_budget(config));
  ASSERT_EQ(trace.candidates.size(), kPaperBudget);
  std::set<std::string> digests;
  for (const Candidate& candidate : trace.candidates) {
    const RescaleFactors& factors = candidate.factors;
    digests.insert(digest(factors));
    ASSERT_EQ(factors.lambda.size(), 64U);
    ASSERT_TRUE(std::ranges::is_sorted(factors.lambda));
    ASSERT_EQ(factors.steps_per_unit, 100);
    ASSERT_EQ(factors.grid_steps.size(), 64U);
    for (std::size_t pair = 0; pair < 64; ++pair) {
      ASSERT_DOUBLE_EQ(factors.lambda[pair], 1.0 + factors.grid_steps[pair] / 100.0);  // within 4 ulp
    }
    ASSERT_GE(factors.lambda.front(), 1.0);
    ASSERT_LE(factors.lambda.back(), space.grid.upper_bound);
  }
  EXPECT_EQ(digests.size(), kPaperBudget);
}

TEST_P(EverySearchTest, ScaledModelIsSearchedOnTheGridOverWhatItCarries) {
  const SearchConfig config = this->config();
  const SearchSpace space = scaled_space(config);
  const std::vector<double>& own = space.scaling.beyond_original.lambda;
  const std::unique_ptr<SearchAlgorithm> search = make_search_algorithm(config, space, {}, 1, "stage");
  const auto over_own = [&own](RescaleFactors factors) {
    std::ranges::transform(factors.lambda, own, factors.lambda.begin(), std::divides<>());
    return quadratic_fitness(factors);
  };
  const Trace trace = run_search(*search, 300, over_own);
  ASSERT_EQ(trace.candidates.size(), 300U);
  std::set<std::string> digests;
  for (const Candidate& candidate : trace.candidates) {
    digests.insert(digest(candidate.factors));
    double previous = 0.0;
    for (std::size_t pair = 0; pair < own.size(); ++pair) {
      const double steps = (candidate.factors.lambda[pair] / own[pair] - 1.0) * 100.0;
      ASSERT_NEAR(steps, std::round(steps), 1e-9);
      ASSERT_GE(steps, previous - 1e-9);
      ASSERT_LE(steps, (space.grid.upper_bound - 1.0) * 100.0 + 1e-9);
      previous = steps;
    }
  }
  EXPECT_EQ(digests.size(), 300U);
}

TEST_P(EverySearchTest, SameSeedAndResultsGiveTheSameTrajectory) {
  const Trace first = run_search(config(), 300, quadratic_fitness, 7);
  const Trace second = run_search(config(), 300, quadratic_fitness, 7);
  EXPECT_EQ(factors_of(first), factors_of(second));
}

TEST_P(EverySearchTest, AnotherSeedGivesAnotherTrajectory) {
  EXPECT_NE(factors_of(run_search(config(), 64, quadratic_fitness, 7)),
            factors_of(run_search(config(), 64, quadratic_fitness, 8)));
}

TEST_P(EverySearchTest, ResultsNeededIsAtMostKAndNeverFalls) {
  const std::unique_ptr<SearchAlgorithm> search =
      make_search_algorithm(config(), synthetic_space(config()), {}, 1, "stage");
  std::size_t previous = 0;
  for (std::size_t k = 0; k < 2 * kPaperBudget; ++k) {
    const std::size_t needed = search->results_needed(k);
    ASSERT_LE(needed, k);
    ASSERT_GE(needed, previous);
    previous = needed;
  }
}

TEST_P(EverySearchTest, MoreOrFewerResultsThanNeededAreRefused) {
  const std::unique_ptr<SearchAlgorithm> search =
      make_search_algorithm(config(), synthetic_space(config()), {}, 1, "stage");
  const Trace trace = run_search(*search, 96);
  const std::size_t needed = search->results_needed(96);
  for (std::size_t k = search->results_needed(95); k < needed; ++k) {
    EXPECT_THROW((void)search->ask(96), std::logic_error);  // too few
    search->tell(k, {.mean_nll = trace.results[k]});
  }
  const auto ask_after_one_too_many = [&] {
    search->tell(needed, {.mean_nll = 2.0});  // refused at once when candidate `needed` is not even proposed
    (void)search->ask(96);
  };
  EXPECT_THROW(ask_after_one_too_many(), std::logic_error);
}

TEST_P(EverySearchTest, CandidatesAreAskedInOrder) {
  const std::unique_ptr<SearchAlgorithm> search =
      make_search_algorithm(config(), synthetic_space(config()), {}, 1, "stage");
  EXPECT_THROW((void)search->ask(1), std::logic_error);
  ASSERT_TRUE(search->ask(0));
  EXPECT_THROW((void)search->ask(0), std::logic_error);
}

TEST_P(EverySearchTest, ResultsNotYetToldCannotMatter) {
  // The same search over two evaluators that agree on the first 64 candidates only: what is asked before any other
  // result is needed must agree too.
  const auto differing = [calls = std::size_t{0}](const RescaleFactors& factors) mutable {
    return quadratic_fitness(factors) + (calls++ < 64 ? 0.0 : static_cast<double>(calls % 7));
  };
  const std::unique_ptr<SearchAlgorithm> search =
      make_search_algorithm(config(), synthetic_space(config()), {}, 1, "stage");
  std::size_t agree = 0;
  while (agree < 96 && search->results_needed(agree) <= 64) {
    ++agree;
  }
  EXPECT_GT(agree, 64U);
  EXPECT_EQ(factors_of(run_search(config(), agree)), factors_of(run_search(config(), agree, differing)));
}

TEST_P(EverySearchTest, TinySpaceEndsInsteadOfHanging) {
  SearchConfig config = this->config();
  config.steps_per_unit = 1;
  config.upper_bound = 2.0;
  config.population_size = 4;
  config.num_parents = 4;
  SearchSpace space = synthetic_space(config, 6);  // 3 pairs of λ in {1, 2}: four monotone factor sets
  const std::unique_ptr<SearchAlgorithm> search = make_search_algorithm(config, space, {}, 1, "stage");
  const Trace trace = run_search(*search, 100);
  EXPECT_LE(trace.candidates.size(), 4U);
  EXPECT_GE(trace.candidates.size(), 3U);
  EXPECT_LT(trace.candidates.size(), 100U);
}

INSTANTIATE_TEST_SUITE_P(Variants, EverySearchTest,
                         testing::Values(Variant{.name = "longrope"},
                                         Variant{.name = "steady_state", .generational = false},
                                         Variant{.name = "steady_state_lag_one", .generational = false, .lag = 1},
                                         Variant{.name = "steady_state_long_lag", .generational = false, .lag = 80},
                                         Variant{.name = "block_moves", .block_move_probability = 0.5},
                                         Variant{.name = "authors", .method = SearchMethod::kAuthors},
                                         Variant{.name = "random", .method = SearchMethod::kRandom}),
                         [](const testing::TestParamInfo<Variant>& variant) { return variant.param.name; });

TEST(SearchAlgorithmTest, LongropeImprovesMoreThanRandomAtTheSameBudget) {
  const auto best = [](SearchMethod method) {
    SearchConfig config;
    config.method = method;
    const Trace trace = run_search(config, kPaperBudget);
    return *std::ranges::min_element(trace.results);
  };
  const Trace seeds = run_search(SearchConfig{}, 3);
  const double start = *std::ranges::min_element(seeds.results);
  const double searched = best(SearchMethod::kLongrope);
  const double random = best(SearchMethod::kRandom);
  EXPECT_LT(searched, random);
  EXPECT_LT(searched - 2.0, 0.5 * (start - 2.0));  // the optimum is 2: at least half of the way from the best seed
}

TEST(SearchAlgorithmTest, UpperBoundFollowsThePaperTheCodeOrTheUser) {
  SearchConfig config;
  EXPECT_EQ(search_grid(config, 32.0).upper_bound, 40.0);
  EXPECT_EQ(search_grid(config, 32.0).max_step(), 3900);
  config.upper_bound_one_plus_ratio = true;
  EXPECT_EQ(search_grid(config, 32.0).upper_bound, 33.0);
  config.upper_bound_one_plus_ratio = false;
  config.method = SearchMethod::kAuthors;
  EXPECT_EQ(search_grid(config, 32.0).upper_bound, 33.0);
  config.upper_bound = 17.5;
  config.steps_per_unit = 200;
  EXPECT_EQ(search_grid(config, 32.0).upper_bound, 17.5);
  EXPECT_EQ(search_grid(config, 32.0).steps_per_unit, 200);
}

TEST(SearchAlgorithmTest, BoundsWithoutAGridAreRefused) {
  EXPECT_THROW((void)search_grid({}, 0.5), InputError);  // 1.25·0.5 < 1
  EXPECT_THROW((void)search_grid({}, 0.0), InputError);
  EXPECT_THROW((void)search_grid({}, std::numeric_limits<double>::quiet_NaN()), InputError);
  SearchConfig config;
  config.upper_bound = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW((void)search_grid(config, 4.0), InputError);
  config.upper_bound = 1e9;
  EXPECT_THROW((void)search_grid(config, 4.0), InputError);
  config.upper_bound = 5.0;
  config.steps_per_unit = 0;
  EXPECT_THROW((void)search_grid(config, 4.0), InputError);
}

TEST(SearchAlgorithmTest, ImpossibleParametersAreRefused) {
  const auto refused = [](auto change) {
    SearchConfig config;
    change(config);
    EXPECT_THROW((void)make_search_algorithm(config, synthetic_space(config), {}, 1, "stage"), InputError);
  };
  refused([](SearchConfig& config) { config.population_size = 0; });
  refused([](SearchConfig& config) { config.num_mutations = -1; });
  refused([](SearchConfig& config) { config.num_mutations = config.num_crossovers = 0; });
  refused([](SearchConfig& config) { config.num_parents = 0; });
  refused([](SearchConfig& config) { config.mutation_probability = 0.0; });
  refused([](SearchConfig& config) { config.mutation_probability = std::numeric_limits<double>::quiet_NaN(); });
  refused([](SearchConfig& config) { config.block_move_probability = 1.5; });
  refused([](SearchConfig& config) { config.block_move_probability = 0.5, config.block_move_sigma = 0.0; });
  refused([](SearchConfig& config) { config.generational = false, config.lag = 0; });
  refused([](SearchConfig& config) { config.seeds = {}; });
  refused([](SearchConfig& config) { config.seeds = {"linear"}; });
  refused([](SearchConfig& config) { config.n_hat_choices = {}; });
  refused([](SearchConfig& config) { config.attention_policies = {}; });
}

TEST(SearchAlgorithmTest, AuthorsRefuseWhatTheReleasedCodeCannotDo) {
  const auto refused = [](auto change) {
    SearchConfig config;
    config.method = SearchMethod::kAuthors;
    change(config);
    EXPECT_THROW((void)make_search_algorithm(config, synthetic_space(config), {}, 1, "stage"), InputError);
  };
  refused([](SearchConfig& config) { config.generational = false; });
  refused([](SearchConfig& config) { config.num_parents = config.population_size + 1; });
  refused([](SearchConfig& config) { config.block_move_probability = 0.1; });
  refused([](SearchConfig& config) { config.n_hat_choices = {0, 4}; });
  refused([](SearchConfig& config) { config.attention_policies = {AttentionPolicy::kYarn}; });
  refused([](SearchConfig& config) { config.seeds = {"yarn"}; });
  refused([](SearchConfig& config) { config.crossover_probability = 0.0; });

  SearchConfig config;
  config.method = SearchMethod::kAuthors;
  SearchSpace space = synthetic_space(config, 4);
  space.published_seeds = {exact_factors({1.0, 2.0}, 0, {}), exact_factors({1.0, 3.0}, 0, {})};
  EXPECT_THROW((void)make_search_algorithm(config, space, {}, 1, "stage"), InputError);
}

}  // namespace
}  // namespace longrope

#include "common/error.h"
#include "common/rope/band_factors.h"
#include "coordinator/search/seeds.h"
#include "tests/coordinator/search/synthetic_search.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<std::string> kOrigins = {
    "seed:yarn",  "seed:yarn-16-1",  "seed:yarn-64-1", "seed:yarn-32-2",  "seed:yarn-8-1",        "seed:ntk",
    "seed:pi",    "seed:mrrope-pro", "seed:bm",        "seed:tailspline", "seed:tailspline-16-1", "seed:ntk-critical",
    "seed:llama3"};

std::vector<Seed> portfolio_of(const SearchSpace& space) { return seed_portfolio(space, genome_space(space, 1.0)); }

std::vector<std::string> origins_of(const std::vector<Seed>& seeds) {
  std::vector<std::string> origins;
  for (const Seed& seed : seeds) origins.push_back(seed.origin);
  return origins;
}

RescaleFactors seed_of(const std::vector<Seed>& seeds, const std::string& origin) {
  const auto seed = std::ranges::find(seeds, origin, &Seed::origin);
  if (seed == seeds.end()) throw std::out_of_range(origin);
  return seed->factors;
}

TEST(SeedPortfolioTest, EveryFormIsThereInItsOrder) {
  EXPECT_EQ(origins_of(portfolio_of(synthetic_space({}))), kOrigins);
  EXPECT_EQ(origins_of(portfolio_of(scaled_space({}))), kOrigins);
}

TEST(SeedPortfolioTest, AllAreMonotoneOnTheGridWithoutAttentionFactor) {
  SearchConfig config;
  config.attention_policies = {AttentionPolicy::kSu, AttentionPolicy::kYarn};
  config.n_hat_choices = {64, 16};
  for (const Seed& seed : portfolio_of(synthetic_space(config))) {
    EXPECT_EQ(seed.factors.attention, AttentionFactor{}) << seed.origin;
    EXPECT_EQ(seed.factors.grid_steps.size(), 64U) << seed.origin;
    EXPECT_TRUE(std::ranges::is_sorted(seed.factors.lambda)) << seed.origin;
    EXPECT_LE(seed.factors.lambda.back(), 4.0) << seed.origin;
    EXPECT_EQ(seed.factors.n_hat, 16) << seed.origin;
  }
}

TEST(SeedPortfolioTest, PaperSeedsAreThoseOfMakeSeeds) {
  SearchConfig config;
  config.attention_policies = {AttentionPolicy::kNone};
  for (const SearchSpace& space : {synthetic_space(config), scaled_space(config)}) {
    const std::vector<Seed> portfolio = portfolio_of(space);
    for (const Seed& seed : make_seeds({"pi", "ntk", "yarn"}, space, genome_space(space, 1.0))) {
      EXPECT_EQ(seed_of(portfolio, seed.origin), seed.factors) << seed.origin;
    }
  }
}

TEST(SeedPortfolioTest, FormsAreTheirFormulasRoundedToTheGrid) {
  const std::vector<Seed> seeds = portfolio_of(synthetic_space({}));  // d = 128, θ = 1e4, L0 = 4,096, ratio 4
  const auto rotations_at = [](double pair) {
    return 4096.0 * std::pow(1e4, -2.0 * pair / 128.0) / (2.0 * std::numbers::pi);
  };
  for (std::size_t pair = 0; pair < 64; ++pair) {
    const auto index = static_cast<double>(pair);
    const auto expect = [&](const std::string& origin, double lambda) {
      EXPECT_NEAR(seed_of(seeds, origin).lambda[pair], lambda, 0.005 + 1e-9) << origin << ", pair " << pair;
    };
    // Correction ranges by spec §2.5, in Python: (16, 1) 25 … 46, (64, 1) 16 … 46, (32, 2) 20 … 41, (8, 1) 30 … 46.
    const auto yarn = [&](double low, double high) {
      const double ramp = std::clamp((index - low) / (high - low), 0.0, 1.0);
      return 1.0 / (ramp / 4.0 + 1.0 - ramp);
    };
    expect("seed:yarn", yarn(20.0, 46.0));
    expect("seed:yarn-16-1", yarn(25.0, 46.0));
    expect("seed:yarn-64-1", yarn(16.0, 46.0));
    expect("seed:yarn-32-2", yarn(20.0, 41.0));
    expect("seed:yarn-8-1", yarn(30.0, 46.0));
    expect("seed:ntk-critical", std::pow(4.0, std::min(1.0, index / 46.0)));  // LLaMA2's critical pair is 46
    const double kept = std::clamp((rotations_at(index) - 1.0) / 3.0, 0.0, 1.0);
    expect("seed:llama3", 1.0 / ((1.0 - kept) / 4.0 + kept));
    // TailSpline by its increments (n + 1 − q)(n + q), n = 46 − 25 = 21.
    double reached = 0.0;
    double whole = 0.0;
    for (int q = 1; q <= 21; ++q) {
      const double increment = (22.0 - q) * (21.0 + q);
      whole += increment;
      if (25 + q <= static_cast<int>(pair)) reached += increment;
    }
    expect("seed:tailspline-16-1", std::pow(4.0, reached / whole));
  }
}

TEST(SeedPortfolioTest, SeedsOverABaseMultiplyItAndKeepItsAttentionFactor) {
  SearchSpace space = scaled_space({});
  space.scaling.beyond_original.attention = {.policy = AttentionPolicy::kValue, .value = 1.19};
  const std::vector<double>& own = space.scaling.beyond_original.lambda;
  const std::vector<double> bm = bm_factors(space.geometry, 4.0);
  const std::vector<Seed> seeds = portfolio_of(space);
  for (const Seed& seed : seeds) {
    EXPECT_EQ(seed.factors.attention, space.scaling.beyond_original.attention) << seed.origin;
    EXPECT_EQ(seed.factors.lambda.back(), 8.0 * 4.0) << seed.origin;
    for (std::size_t pair = 0; pair < own.size(); ++pair) {
      const double steps = (seed.factors.lambda[pair] / own[pair] - 1.0) * 100.0;
      EXPECT_NEAR(steps, std::round(steps), 1e-9) << seed.origin << ", pair " << pair;
    }
  }
  for (std::size_t pair = 0; pair < own.size(); ++pair) {
    EXPECT_NEAR(seed_of(seeds, "seed:bm").lambda[pair] / own[pair], bm[pair], 0.005 + 1e-9) << pair;
  }
}

TEST(SeedPortfolioTest, EqualSeedsAreThereOnce) {
  EXPECT_THAT(origins_of(portfolio_of(synthetic_space({}, 128, 4096))), ElementsAre("seed:yarn"));  // nothing to extend

  SearchSpace space = synthetic_space({});
  space.published_seeds = {seed_of(portfolio_of(space), "seed:tailspline")};
  EXPECT_EQ(origins_of(portfolio_of(space)), kOrigins);
}

TEST(SeedPortfolioTest, PublishedArrayForThisRatioIsCarriedAsItIsButForItsAttentionFactor) {
  SearchSpace space = synthetic_space({}, 8);  // ratio 4, bound 5
  const std::vector<double> lambda = {0.9978, 1.23456, 2.0, 4.4};
  space.published_seeds = {exact_factors(lambda, 0, {.policy = AttentionPolicy::kValue, .value = 1.19})};
  const std::vector<Seed> seeds = portfolio_of(space);
  EXPECT_EQ(seeds.back().origin, "seed:published:1");
  EXPECT_EQ(seeds.back().factors, exact_factors(lambda, 0, {}));
}

TEST(SeedPortfolioTest, PublishedArrayForAnotherRatioIsRescaledByDepthToo) {
  SearchSpace space = synthetic_space({}, 8);
  space.published_seeds = {exact_factors({1.0, 2.0, 4.0, 16.0}, 0, {}), exact_factors({1.0, 1.0, 1.5, 2.0}, 0, {})};
  const std::vector<Seed> seeds = portfolio_of(space);
  // ln λ / ln 16 is 0, 1/4, 1/2, 1: 4^0, 4^(1/4) = 1.4142, 4^(1/2), 4. The second: 4^(ln 1.5 / ln 2) = 2.25.
  EXPECT_EQ(seed_of(seeds, "seed:published:1").lambda, (std::vector<double>{1.0, 2.0, 4.0, 16.0}));
  EXPECT_EQ(seed_of(seeds, "seed:published:1-rescaled").lambda, (std::vector<double>{1.0, 1.41, 2.0, 4.0}));
  EXPECT_EQ(seed_of(seeds, "seed:published:2-rescaled").lambda, (std::vector<double>{1.0, 1.0, 2.25, 4.0}));
  EXPECT_EQ(seeds.back().origin, "seed:published:2-rescaled");
}

TEST(SeedPortfolioTest, PublishedArrayWithoutExtensionHasNoDepth) {
  SearchSpace space = synthetic_space({}, 8);
  space.published_seeds = {exact_factors({0.5, 0.5, 0.9, 1.0}, 0, {})};
  EXPECT_EQ(portfolio_of(space).back().origin, "seed:published:1");
}

TEST(SeedPortfolioTest, PublishedArrayOfAnotherModelIsRefused) {
  SearchSpace space = synthetic_space({}, 8);
  space.published_seeds = {exact_factors({1.0, 2.0}, 0, {})};
  EXPECT_THAT(refusal([&] { (void)portfolio_of(space); }), HasSubstr("seed:published:1"));
}

}  // namespace
}  // namespace longrope

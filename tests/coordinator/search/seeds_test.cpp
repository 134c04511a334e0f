#include "coordinator/search/seeds.h"

#include "common/error.h"
#include "tests/coordinator/search/synthetic_search.h"
#include "tests/support/factor_fixtures.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace longrope {
namespace {

const std::vector<std::string> kPaperSeeds = {"pi", "ntk", "yarn"};

std::vector<Seed> seeds_of(const SearchSpace& space, const std::vector<std::string>& names = kPaperSeeds) {
  return make_seeds(names, space, genome_space(space, 1.0));
}

TEST(SeedsTest, PaperSeedsAreTheClosedFormsRoundedToTheGrid) {
  const std::vector<Seed> seeds = seeds_of(synthetic_space({}));
  ASSERT_EQ(seeds.size(), 3U);
  EXPECT_EQ(seeds[0].origin, "seed:pi");
  EXPECT_EQ(seeds[1].origin, "seed:ntk");
  EXPECT_EQ(seeds[2].origin, "seed:yarn");
  for (std::size_t pair = 0; pair < 64; ++pair) {
    EXPECT_EQ(seeds[0].factors.grid_steps[pair], 300);
    const double ntk = std::pow(4.0, 2.0 * static_cast<double>(pair) / 126.0);
    EXPECT_NEAR(seeds[1].factors.lambda[pair], ntk, 0.005 + 1e-9);
    const double ramp = std::clamp((static_cast<double>(pair) - 20.0) / 26.0, 0.0, 1.0);  // LLaMA2: low 20, high 46
    EXPECT_NEAR(seeds[2].factors.lambda[pair], 1.0 / (ramp / 4.0 + 1.0 - ramp), 0.005 + 1e-9);
  }
}

TEST(SeedsTest, EveryPolicyGetsEverySeed) {
  SearchConfig config;
  config.attention_policies = {AttentionPolicy::kSu, AttentionPolicy::kYarn, AttentionPolicy::kNone};
  std::set<std::pair<std::string, AttentionPolicy>> found;
  for (const Seed& seed : seeds_of(synthetic_space(config))) {
    found.emplace(seed.origin, seed.factors.attention.policy);
  }
  EXPECT_EQ(found.size(), 9U);
}

TEST(SeedsTest, EqualEvaluationsAreAskedOnce) {
  EXPECT_EQ(seeds_of(synthetic_space({}), {"pi", "yarn", "pi"}).size(), 2U);

  SearchConfig config;
  config.attention_policies = {AttentionPolicy::kNone, AttentionPolicy::kValue};  // both m = 1
  EXPECT_EQ(seeds_of(synthetic_space(config)).size(), 3U);

  SearchSpace space = synthetic_space({});
  space.published_seeds = {seeds_of(space)[2].factors};
  EXPECT_EQ(seeds_of(space).size(), 3U);
}

TEST(SeedsTest, SeedsAreClampedToAReducedBound) {
  SearchConfig config;
  config.upper_bound = 2.0;
  for (const Seed& seed : seeds_of(synthetic_space(config))) {
    EXPECT_LE(seed.factors.lambda.back(), 2.0);
    EXPECT_TRUE(std::ranges::is_sorted(seed.factors.lambda));
  }
}

TEST(SeedsTest, ClosedFormsKeepPositionsFreeOfNHatWhereThatIsAChoice) {
  SearchConfig config;
  config.n_hat_choices = {64, 0, 16};
  EXPECT_EQ(seeds_of(synthetic_space(config)).front().factors.n_hat, 0);
  config.n_hat_choices = {64, 16};
  EXPECT_EQ(seeds_of(synthetic_space(config)).front().factors.n_hat, 16);
}

TEST(SeedsTest, PublishedSeedIsCarriedAsItIs) {
  SearchSpace space = synthetic_space({}, 8);
  const RescaleFactors published =
      exact_factors({0.9978, 1.23456, 2.0, 7.5}, 12, {.policy = AttentionPolicy::kValue, .value = 1.19});
  space.published_seeds = {published};
  const std::vector<Seed> seeds = seeds_of(space);
  EXPECT_EQ(seeds.back().origin, "seed:published:1");
  EXPECT_EQ(seeds.back().factors, published);
}

TEST(SeedsTest, NonMonotonePublishedSeedIsRoundedToAMonotoneOne) {
  SearchSpace space = synthetic_space({}, 8);
  space.published_seeds = {exact_factors({1.0, 1.07, 1.06, 3.0}, 0, {})};
  EXPECT_EQ(seeds_of(space).back().factors.grid_steps, (std::vector<std::int32_t>{0, 7, 7, 200}));
}

TEST(SeedsTest, ClosedFormsOverABaseAreTheExtendedOnesRoundedToTheGrid) {
  const SearchSpace space = scaled_space({});
  const std::vector<Seed> seeds = seeds_of(space, {"pi", "ntk", "yarn", "ramp"});
  ASSERT_EQ(seeds.size(), 4U);
  const std::vector<double>& own = space.scaling.beyond_original.lambda;
  for (const Seed& seed : seeds) {
    const RescaleFactors extended =
        extended_factors(seed.origin.substr(5), space.geometry, space.scaling, space.target_length);
    for (std::size_t pair = 0; pair < own.size(); ++pair) {
      EXPECT_NEAR(seed.factors.lambda[pair] / own[pair], extended.lambda[pair] / own[pair], 0.005 + 1e-9)
          << seed.origin << ", pair " << pair;
      const double steps = (seed.factors.lambda[pair] / own[pair] - 1.0) * 100.0;
      EXPECT_NEAR(steps, std::round(steps), 1e-9) << seed.origin << ", pair " << pair;
    }
    EXPECT_EQ(seed.factors.lambda.back(), 8.0 * 4.0) << seed.origin;
  }
}

TEST(SeedsTest, AuthorsSecondArrayIsCarriedAsItIsOverTheirFirst) {
  const auto arrays = load_published_factors("longrope_paper_llama2_mistral.json")["arrays"];
  const auto array = [&](const char* name) {
    return exact_factors(arrays[name]["factors"].get<std::vector<double>>(), 0, {});
  };
  SearchSpace space = synthetic_space({}, 128, 2097152);
  space.scaling = {.type = "longrope",
                   .up_to_original = array("ft_la2_256k"),
                   .beyond_original = array("ft_la2_256k"),
                   .reached_length = 262144};
  space.grid = search_grid({}, 8.0);
  space.published_seeds = {array("2048k_la2_256k")};
  EXPECT_EQ(seeds_of(space, {}).front().factors, space.published_seeds.front());
}

TEST(SeedsTest, PublishedSeedThatFallsOverTheBaseIsRounded) {
  SearchSpace space = synthetic_space({}, 8);
  space.scaling = {.type = "longrope",
                   .up_to_original = {},
                   .beyond_original = exact_factors({1.0, 2.0, 3.0, 4.0}, 0, {}),
                   .reached_length = 8192};
  space.published_seeds = {exact_factors({1.0, 2.5, 3.6, 8.0}, 0, {})};  // 1, 1.25, 1.2, 2 times the base
  EXPECT_EQ(seeds_of(space, {}).front().factors.lambda, (std::vector<double>{1.0, 2.5, 3.75, 8.0}));
}

TEST(SeedsTest, PublishedSeedOfAnotherModelIsRefused) {
  SearchSpace space = synthetic_space({}, 8);
  space.published_seeds = {exact_factors({1.0, 2.0}, 0, {})};
  EXPECT_THROW((void)seeds_of(space), InputError);
}

TEST(SeedsTest, UnknownNameIsRefused) {
  EXPECT_THROW((void)seeds_of(synthetic_space({}), {"pi", "linear"}), InputError);
}

}  // namespace
}  // namespace longrope

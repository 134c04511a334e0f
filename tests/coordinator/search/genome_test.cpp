#include "coordinator/search/genome.h"

#include "common/error.h"
#include "tests/coordinator/search/synthetic_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace longrope {
namespace {

SearchSpace small_space() {
  SearchConfig config;
  config.n_hat_choices = {0, 4, 16};
  config.attention_policies = {AttentionPolicy::kSu, AttentionPolicy::kYarn, AttentionPolicy::kValue};
  return synthetic_space(config, 8);
}

TEST(GenomeTest, AttentionChoicesCarryTheValueOfTheirPolicy) {
  const GenomeSpace space = genome_space(small_space(), 1.5);
  ASSERT_EQ(space.attention_choices.size(), 3U);
  EXPECT_NEAR(space.attention_choices[0].value, std::sqrt(1.0 + std::log(4.0) / std::log(4096.0)), 1e-15);
  EXPECT_NEAR(space.attention_choices[1].value, 0.1 * std::log(4.0) + 1.0, 1e-15);
  EXPECT_EQ(space.attention_choices[2], (AttentionFactor{.policy = AttentionPolicy::kValue, .value = 1.5}));
}

TEST(GenomeTest, NearestGenomeOfAGenomeIsItself) {
  const GenomeSpace space = genome_space(small_space(), 1.0);
  const Genome genome{.steps = {0, 7, 7, 400}, .n_hat = 16, .attention = space.attention_choices[1]};
  EXPECT_EQ(nearest_genome(space, to_factors(genome, space)), genome);
}

TEST(GenomeTest, NearestGenomeRoundsClampsAndRestoresMonotonicity) {
  const GenomeSpace space = genome_space(small_space(), 1.0);
  const RescaleFactors outside = exact_factors({0.997, 2.5049, 2.48, 9.0}, 5, space.attention_choices[0]);
  const Genome genome = nearest_genome(space, outside);
  EXPECT_EQ(genome.steps, (std::vector<std::int32_t>{0, 150, 150, 400}));
  EXPECT_EQ(genome.n_hat, 4);
  EXPECT_EQ(genome.attention, space.attention_choices[0]);
}

TEST(GenomeTest, FactorsOverABaseAreItsProductWithTheGrid) {
  const SearchSpace scaled = scaled_space({});
  const GenomeSpace space = genome_space(scaled, 1.0);
  Genome genome{.steps = std::vector<std::int32_t>(64, 150), .n_hat = 0, .attention = space.attention_choices[0]};
  genome.steps[0] = 0;
  const RescaleFactors factors = to_factors(genome, space);
  const std::vector<double>& own = scaled.scaling.beyond_original.lambda;
  EXPECT_EQ(factors.lambda[0], own[0]);
  for (std::size_t pair = 1; pair < own.size(); ++pair) EXPECT_EQ(factors.lambda[pair], own[pair] * 2.5);
  EXPECT_EQ(factors.attention, genome.attention);
  EXPECT_TRUE(factors.grid_steps.empty());
  EXPECT_EQ(factors.steps_per_unit, 0);
  validate(factors, 64, "test");
}

TEST(GenomeTest, NearestGenomeOfAGenomeOverABaseIsItself) {
  const GenomeSpace space = genome_space(scaled_space({}), 1.0);
  Genome genome{.steps = {}, .n_hat = 0, .attention = space.attention_choices[0]};
  for (std::int32_t pair = 0; pair < 64; ++pair) genome.steps.push_back(pair * 400 / 63);
  EXPECT_EQ(nearest_genome(space, to_factors(genome, space)), genome);
}

TEST(GenomeTest, BaseMayFallWhereTheGenomeDoesNot) {
  SearchSpace search_space = small_space();
  search_space.n_hat_choices = {0};
  search_space.scaling = {.type = "longrope",
                          .up_to_original = {},
                          .beyond_original = exact_factors({0.998, 1.5, 1.4, 8.0}, 0, {}),
                          .reached_length = 8192};
  const GenomeSpace space = genome_space(search_space, 1.0);
  const Genome genome{.steps = {0, 0, 7, 100}, .n_hat = 0, .attention = space.attention_choices[0]};
  const RescaleFactors factors = to_factors(genome, space);
  EXPECT_EQ(factors.lambda, (std::vector<double>{0.998, 1.5, 1.4 * 1.07, 16.0}));
  EXPECT_EQ(nearest_genome(space, factors), genome);
}

TEST(GenomeTest, AttentionPoliciesExtendTheFactorOfTheCheckpoint) {
  SearchConfig config;
  config.attention_policies = {AttentionPolicy::kSu, AttentionPolicy::kYarn, AttentionPolicy::kNone,
                               AttentionPolicy::kValue};
  SearchSpace search_space = scaled_space(config);
  // Llama 3.1 has none: 4 times 131072 tokens.
  GenomeSpace space = genome_space(search_space, 1.5);
  EXPECT_EQ(space.attention_choices[0].policy, AttentionPolicy::kSu);
  EXPECT_NEAR(space.attention_choices[0].value, std::sqrt(std::log(524288.0) / std::log(131072.0)), 1e-15);
  EXPECT_EQ(space.attention_choices[1], attention_factor(AttentionPolicy::kYarn, 4.0, 131072));
  EXPECT_EQ(space.attention_choices[2], AttentionFactor{});
  EXPECT_EQ(space.attention_choices[3], (AttentionFactor{.policy = AttentionPolicy::kValue, .value = 1.5}));

  // LLaMA2 fine-tuned at 64 × 4096 tokens and searched at 512 × 4096: su of both is su of the whole, 1.322876.
  search_space.geometry.original_length = 4096;
  search_space.scaling.reached_length = 262144;
  search_space.scaling.beyond_original.attention = attention_factor(AttentionPolicy::kSu, 64.0, 4096);
  search_space.target_length = 2097152;
  space = genome_space(search_space, 1.5);
  EXPECT_EQ(space.attention_choices[0].policy, AttentionPolicy::kValue);
  EXPECT_NEAR(space.attention_choices[0].value, 1.322876, 1e-6);
  EXPECT_NEAR(space.attention_choices[1].value, 1.224745 * (0.1 * std::log(8.0) + 1.0), 1e-6);
  EXPECT_EQ(space.attention_choices[2], search_space.scaling.beyond_original.attention);
  EXPECT_EQ(space.attention_choices[3].value, 1.5) << "a given value is total";
}

TEST(GenomeTest, UnlistedAttentionFactorBecomesTheFirstChoice) {
  const GenomeSpace space = genome_space(small_space(), 1.0);
  const RescaleFactors outside =
      exact_factors({1.0, 1.0, 1.0, 1.0}, 0, {.policy = AttentionPolicy::kNone, .value = 1.0});
  EXPECT_EQ(nearest_genome(space, outside).attention, space.attention_choices[0]);
}

TEST(GenomeTest, ImpossibleSpacesAreRefused) {
  SearchSpace space = small_space();
  space.n_hat_choices = {};
  EXPECT_THROW((void)genome_space(space, 1.0), InputError);
  space.n_hat_choices = {0, -1};
  EXPECT_THROW((void)genome_space(space, 1.0), InputError);

  space = small_space();
  space.attention_policies = {};
  EXPECT_THROW((void)genome_space(space, 1.0), InputError);

  space = small_space();
  space.geometry.rotary_dim = 7;
  EXPECT_THROW((void)genome_space(space, 1.0), InputError);

  space = small_space();
  space.target_length = 0;
  EXPECT_THROW((void)genome_space(space, 1.0), InputError);

  space = small_space();
  space.grid.upper_bound = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW((void)genome_space(space, 1.0), InputError);

  EXPECT_THROW((void)genome_space(small_space(), 0.0), InputError);
  EXPECT_THROW((void)genome_space(small_space(), std::numeric_limits<double>::infinity()), InputError);
}

}  // namespace
}  // namespace longrope

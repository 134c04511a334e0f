#include "coordinator/search/genome.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/error.h"
#include "tests/coordinator/search/synthetic_search.h"

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
  EXPECT_EQ(nearest_genome(space, to_factors(genome, space.grid)), genome);
}

TEST(GenomeTest, NearestGenomeRoundsClampsAndRestoresMonotonicity) {
  const GenomeSpace space = genome_space(small_space(), 1.0);
  const RescaleFactors outside = exact_factors({0.997, 2.5049, 2.48, 9.0}, 5, space.attention_choices[0]);
  const Genome genome = nearest_genome(space, outside);
  EXPECT_EQ(genome.steps, (std::vector<std::int32_t>{0, 150, 150, 400}));
  EXPECT_EQ(genome.n_hat, 4);
  EXPECT_EQ(genome.attention, space.attention_choices[0]);
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

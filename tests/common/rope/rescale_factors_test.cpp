#include "common/rope/rescale_factors.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr AttentionFactor kNoAttention{.policy = AttentionPolicy::kNone, .value = 1.0};
constexpr AttentionFactor kSuAttention{.policy = AttentionPolicy::kSu, .value = 1.19};

std::string refusal_of(const RescaleFactors& factors, std::size_t pairs = 3) {
  return refusal([&] { validate(factors, pairs, "test.csv"); });
}

TEST(RescaleFactorsTest, GridEndsAtItsUpperBoundForEveryDecimalBound) {
  for (int hundredths = 100; hundredths <= 6600; ++hundredths) {
    const std::string decimal =
        std::to_string(hundredths / 100) + "." + std::to_string(100 + hundredths % 100).substr(1);
    const FactorGrid grid{.steps_per_unit = 100, .upper_bound = std::stod(decimal)};
    ASSERT_EQ(grid.max_step(), hundredths - 100) << decimal;
    ASSERT_EQ(grid.lambda(grid.max_step()), grid.upper_bound) << decimal;
  }
  EXPECT_EQ((FactorGrid{.steps_per_unit = 100, .upper_bound = 40.0}.max_step()), 3900);
}

TEST(RescaleFactorsTest, GridLambdaIsTheDoubleNearestTheRational) {
  for (const std::int32_t steps_per_unit : {100, 128, 200, 500}) {
    const FactorGrid grid{.steps_per_unit = steps_per_unit, .upper_bound = 65.0};
    for (std::int32_t step = 0; step <= grid.max_step(); ++step) {
      const long double rational = 1.0L + static_cast<long double>(step) / steps_per_unit;
      ASSERT_EQ(grid.lambda(step), static_cast<double>(rational)) << step << "/" << steps_per_unit;
      ASSERT_EQ(grid.nearest_step(grid.lambda(step)), step);
    }
  }
}

TEST(RescaleFactorsTest, NearestStepIsClampedToTheGrid) {
  const FactorGrid grid{.steps_per_unit = 100, .upper_bound = 5.0};
  EXPECT_EQ(grid.nearest_step(0.2), 0);
  EXPECT_EQ(grid.nearest_step(-std::numeric_limits<double>::infinity()), 0);
  EXPECT_EQ(grid.nearest_step(1e300), 400);
  EXPECT_EQ(grid.nearest_step(2.3449), 134);
  EXPECT_THROW((void)grid.nearest_step(std::numeric_limits<double>::quiet_NaN()), InputError);
}

TEST(RescaleFactorsTest, UnusableGridIsRefused) {
  for (const FactorGrid& grid : {FactorGrid{0, 5.0}, FactorGrid{-1, 5.0}, FactorGrid{100, 0.99}, FactorGrid{100, 1e12},
                                 FactorGrid{100, std::numeric_limits<double>::quiet_NaN()}}) {
    EXPECT_THROW((void)grid.max_step(), InputError) << grid.steps_per_unit << " " << grid.upper_bound;
  }
}

TEST(RescaleFactorsTest, StepOutsideTheGridIsRefused) {
  const FactorGrid grid{.steps_per_unit = 100, .upper_bound = 2.0};
  EXPECT_EQ(factors_on_grid(grid, {0, 50, 100}, 4, kSuAttention).lambda, (std::vector<double>{1.0, 1.5, 2.0}));
  EXPECT_THAT(refusal([&] { (void)factors_on_grid(grid, {0, 101}, 0, kNoAttention); }),
              HasSubstr("between 0 and 100: pair 1 has 101"));
  EXPECT_THAT(refusal([&] { (void)factors_on_grid(grid, {-1}, 0, kNoAttention); }), HasSubstr("pair 0 has -1"));
}

TEST(RescaleFactorsTest, RoundingToTheGridRestoresMonotonicity) {
  const FactorGrid grid{.steps_per_unit = 100, .upper_bound = 3.0};
  const RescaleFactors factors = round_to_grid(grid, {0.9978, 1.126, 1.114, 2.0, 9.0}, 8, kSuAttention);
  EXPECT_THAT(factors.grid_steps, ElementsAre(0, 13, 13, 100, 200));
  EXPECT_THAT(factors.lambda, ElementsAre(1.0, 1.13, 1.13, 2.0, 3.0));
  EXPECT_EQ(factors.n_hat, 8);
  EXPECT_EQ(factors.attention, kSuAttention);
  EXPECT_NO_THROW(validate(factors, 5, "grid"));
}

TEST(RescaleFactorsTest, CompositionReproducesTheAuthorsSecondSearch) {
  const auto arrays = load_published_factors("longrope_paper_llama2_mistral.json")["arrays"];
  const auto secondary =
      load_factor_fixture("test_vectors.json")["secondary_factors_2048k_over_ft_la2_256k"].get<std::vector<double>>();
  const RescaleFactors fine_tuned =
      exact_factors(arrays["ft_la2_256k"]["factors"].get<std::vector<double>>(), 16, kNoAttention);
  const FactorGrid grid{.steps_per_unit = 100, .upper_bound = 9.0};
  const RescaleFactors total = compose(fine_tuned, round_to_grid(grid, secondary, 0, kSuAttention));
  const auto published = arrays["2048k_la2_256k"]["factors"].get<std::vector<double>>();
  ASSERT_EQ(total.lambda.size(), published.size());
  for (std::size_t pair = 0; pair < published.size(); ++pair) {
    EXPECT_NEAR(total.lambda[pair] / published[pair], 1.0, 2e-7) << pair;  // float32 with 7 digits
  }
  EXPECT_EQ(total.n_hat, 0);
  EXPECT_EQ(total.attention, kSuAttention);
  EXPECT_THAT(total.grid_steps, IsEmpty());
  EXPECT_EQ(total.steps_per_unit, 0);
}

TEST(RescaleFactorsTest, ComposingDifferentLengthsIsRefused) {
  EXPECT_THAT(refusal([] { (void)compose(exact_factors({1.0}, 0, {}), exact_factors({1.0, 2.0}, 0, {})); }),
              HasSubstr("equally many lambda: 1 and 2"));
}

TEST(RescaleFactorsTest, ComposedAttentionFactorsMultiplyAndKeepThePolicyOfTheOnlyOne) {
  EXPECT_EQ(compose(kSuAttention, kNoAttention), kSuAttention);
  EXPECT_EQ(compose(kNoAttention, kSuAttention), kSuAttention);
  EXPECT_EQ(compose(kSuAttention, {AttentionPolicy::kYarn, 1.5}),
            (AttentionFactor{AttentionPolicy::kValue, 1.19 * 1.5}));
}

TEST(RescaleFactorsTest, WhatNoModelCanRunIsRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_NO_THROW(validate(exact_factors({0.9, 3.0, 2.0}, 0, kNoAttention), 3, "test.csv"));
  EXPECT_EQ(refusal_of(exact_factors({1.0, 2.0}, 0, kNoAttention)), "lambda must number 3: 2 (test.csv)");
  EXPECT_EQ(refusal_of(exact_factors({1.0, 2.0, nan}, 0, kNoAttention)),
            "lambda must be finite: pair 2 is nan (test.csv)");
  EXPECT_THAT(refusal_of(exact_factors({1.0, infinity, 2.0}, 0, kNoAttention)), HasSubstr("pair 1 is inf"));
  EXPECT_THAT(refusal_of(exact_factors({-1.0, 1.0, 2.0}, 0, kNoAttention)), HasSubstr("positive: pair 0 is -1"));
  EXPECT_THAT(refusal_of(exact_factors({1.0, 0.0, 2.0}, 0, kNoAttention)), HasSubstr("positive: pair 1 is 0"));
  EXPECT_THAT(refusal_of(exact_factors({1.0, 1.0, 2.0}, -1, kNoAttention)), HasSubstr("n_hat must be >= 0: -1"));
}

TEST(RescaleFactorsTest, BadAttentionFactorIsRefused) {
  const auto with = [](AttentionPolicy policy, double value) {
    return exact_factors({1.0, 1.0, 1.0}, 0, {.policy = policy, .value = value});
  };
  for (const double bad :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(refusal_of(with(AttentionPolicy::kValue, bad)), HasSubstr("finite and positive"));
  }
  EXPECT_THAT(refusal_of(with(AttentionPolicy::kNone, 1.1)), HasSubstr("must be 1 under policy none: 1.1"));
  EXPECT_THAT(refusal_of(with(static_cast<AttentionPolicy>(4), 1.0)), HasSubstr("must be 0 to 3: 4"));
  EXPECT_THAT(refusal_of(with(static_cast<AttentionPolicy>(-1), 1.0)), HasSubstr("must be 0 to 3: -1"));
}

TEST(RescaleFactorsTest, GridStepsThatDoNotGiveLambdaAreRefused) {
  const FactorGrid grid{.steps_per_unit = 100, .upper_bound = 5.0};
  RescaleFactors factors = factors_on_grid(grid, {0, 10, 20}, 0, kNoAttention);
  factors.lambda[1] = std::nextafter(factors.lambda[1], 2.0);
  EXPECT_THAT(refusal_of(factors), HasSubstr("must be its grid step's 1.1: pair 1"));
  factors = factors_on_grid(grid, {0, 10, 20}, 0, kNoAttention);
  factors.grid_steps.pop_back();
  EXPECT_THAT(refusal_of(factors), HasSubstr("grid steps must number 3"));
  factors = factors_on_grid(grid, {0, 10, 20}, 0, kNoAttention);
  factors.steps_per_unit = 0;
  EXPECT_THAT(refusal_of(factors), HasSubstr("steps_per_unit must be positive"));
  factors = exact_factors({1.0, 1.0, 1.0}, 0, kNoAttention);
  factors.steps_per_unit = 100;
  EXPECT_THAT(refusal_of(factors), HasSubstr("grid steps must number 3"));
}

TEST(RescaleFactorsTest, UnusualPropertiesAreNamedOnce) {
  const auto unusual = [](std::vector<double> lambda, double bound) {
    return unusual_properties(exact_factors(std::move(lambda), 0, kNoAttention), bound);
  };
  EXPECT_THAT(unusual({1.0, 1.0, 8.0}, 8.0), IsEmpty());
  EXPECT_THAT(unusual({1.0, 1.0, 800.0}, 0.0), IsEmpty());
  EXPECT_THAT(
      unusual({0.9, 0.95, 3.0, 2.0, 9.0}, 8.0),
      ElementsAre("lambda is usually at least 1: pair 0 is 0.9, pair 1 is 0.95",
                  "lambda usually does not decrease: pair 3 is 2 after 3", "lambda is usually at most 8: pair 4 is 9"));
}

TEST(RescaleFactorsTest, DigestFollowsWhatDeterminesTheResult) {
  const RescaleFactors base = exact_factors({1.0, 1.5}, 0, kSuAttention);
  RescaleFactors other = base;
  EXPECT_EQ(digest(base).size(), 64U);
  other.attention.policy = AttentionPolicy::kValue;  // same m, however chosen
  EXPECT_EQ(digest(other), digest(base));
  EXPECT_EQ(digest(factors_on_grid({.steps_per_unit = 2, .upper_bound = 2.0}, {0, 1}, 0, kSuAttention)), digest(base));
  other.attention.value = 1.2;
  EXPECT_NE(digest(other), digest(base));
  other = base;
  other.n_hat = 1;
  EXPECT_NE(digest(other), digest(base));
  other = base;
  other.lambda[1] = std::nextafter(1.5, 2.0);
  EXPECT_NE(digest(other), digest(base));
}

TEST(RescaleFactorsTest, DigestDoesNotChange) {
  // Databases hold digests; computed independently (Python: struct, hashlib).
  EXPECT_EQ(digest(exact_factors({1.0, 1.5}, 4, kSuAttention)),
            "5c4cf37abe3056e4ab3f4527411394a51eb647e5751fa2d7f1a1ba84077512b4");
}

TEST(RescaleFactorsTest, PolicyNamesSurviveTheRoundTrip) {
  for (const auto policy :
       {AttentionPolicy::kSu, AttentionPolicy::kYarn, AttentionPolicy::kNone, AttentionPolicy::kValue}) {
    EXPECT_EQ(parse_attention_policy(to_string(policy)), policy);
  }
  EXPECT_THAT(refusal([] { (void)parse_attention_policy("longrope"); }), HasSubstr("longrope"));
}

}  // namespace
}  // namespace longrope

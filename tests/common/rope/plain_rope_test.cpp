#include "common/rope/plain_rope.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace longrope {
namespace {

// Head widths, bases and lengths of Llama 2, Llama 3, Qwen3, the bundled model, Phi-4-mini (three quarters of a head)
// and a small model with few pairs.
constexpr std::array<RotaryGeometry, 6> kGeometries = {{
    {.rotary_dim = 128, .rope_theta = 1e4, .original_length = 4096},
    {.rotary_dim = 128, .rope_theta = 5e5, .original_length = 8192},
    {.rotary_dim = 128, .rope_theta = 1e6, .original_length = 32768},
    {.rotary_dim = 64, .rope_theta = 1e4, .original_length = 512},
    {.rotary_dim = 96, .rope_theta = 1e4, .original_length = 4096},
    {.rotary_dim = 32, .rope_theta = 5e5, .original_length = 1024},
}};
constexpr std::array<double, 4> kRatios = {2.0, 8.0, 32.0, 100.0 / 3.0};

std::int64_t target_of(const RotaryGeometry& geometry, double ratio) {
  return std::llround(static_cast<double>(geometry.original_length) * ratio);
}

RescaleFactors factors_of(std::vector<double> lambda, double m = 1.0) {
  return exact_factors(std::move(lambda), 0, {m == 1.0 ? AttentionPolicy::kNone : AttentionPolicy::kValue, m});
}

/// plain_rope_of(), which must find something.
PlainRope found(const std::vector<double>& lambda, const RotaryGeometry& geometry, double ratio, double m = 1.0) {
  const auto rule = plain_rope_of(factors_of(lambda, m), geometry, target_of(geometry, ratio));
  EXPECT_TRUE(rule.has_value());
  return rule.value_or(PlainRope{});
}

void expect_same(const std::vector<double>& lambda, const std::vector<double>& expected) {
  ASSERT_EQ(lambda.size(), expected.size());
  for (std::size_t pair = 0; pair < lambda.size(); ++pair) {
    EXPECT_NEAR(lambda[pair], expected[pair], 1e-6 * expected[pair]) << "pair " << pair;
  }
}

TEST(PlainRopeTest, EqualFactorsAreLinear) {
  for (const RotaryGeometry& geometry : kGeometries) {
    for (const double ratio : kRatios) {
      const PlainRope rule = found(pi_factors(geometry, ratio), geometry, ratio, 1.1);
      EXPECT_EQ(rule.type, PlainRopeType::kLinear);
      EXPECT_EQ(rule.factor, ratio);
      EXPECT_EQ(rule.attention.value, 1.1);
      EXPECT_EQ(rule.rope_theta, geometry.rope_theta);
    }
  }
}

TEST(PlainRopeTest, NtkIsAChangedTheta) {
  for (const RotaryGeometry& geometry : kGeometries) {
    for (const double ratio : kRatios) {
      const PlainRope rule = found(ntk_factors(geometry, ratio), geometry, ratio);
      const auto dim = static_cast<double>(geometry.rotary_dim);
      EXPECT_EQ(rule.type, PlainRopeType::kTheta);
      EXPECT_NEAR(rule.rope_theta / (geometry.rope_theta * std::pow(ratio, dim / (dim - 2.0))), 1.0, 1e-9);
      // The angles that an engine computes from the new base, without λ.
      RotaryGeometry changed = geometry;
      changed.rope_theta = rule.rope_theta;
      const std::vector<double> old_frequencies = inverse_frequencies(geometry);
      const std::vector<double> frequencies = inverse_frequencies(changed);
      const std::vector<double> lambda = ntk_factors(geometry, ratio);
      for (std::size_t pair = 0; pair < lambda.size(); ++pair) {
        EXPECT_NEAR(frequencies[pair] * lambda[pair] / old_frequencies[pair], 1.0, 1e-9) << "pair " << pair;
      }
    }
  }
}

TEST(PlainRopeTest, AllOnesAreTheModelsOwnTheta) {
  const RotaryGeometry& geometry = kGeometries[1];
  const PlainRope rule = found(std::vector<double>(geometry.pairs(), 1.0), geometry, 4.0);
  EXPECT_EQ(rule.type, PlainRopeType::kTheta);
  EXPECT_EQ(rule.rope_theta, geometry.rope_theta);
}

TEST(PlainRopeTest, YarnOfTheUsualBandKeepsTheUsualBetas) {
  for (const RotaryGeometry& geometry : kGeometries) {
    for (const double ratio : kRatios) {
      const PlainRope rule = found(yarn_factors(geometry, ratio), geometry, ratio, 1.25);
      EXPECT_EQ(rule.type, PlainRopeType::kYarn);
      EXPECT_NEAR(rule.factor, ratio, 1e-9 * ratio);
      EXPECT_EQ(rule.yarn.beta_fast, 32.0);
      EXPECT_EQ(rule.yarn.beta_slow, 1.0);
      EXPECT_EQ(rule.attention.value, 1.25);
    }
  }
}

TEST(PlainRopeTest, YarnOfAnotherBandComesBackAsItsPairs) {
  // Betas that transformers and llama.cpp truncate to other pairs than 32 and 1; the factor is not the ratio of
  // lengths.
  constexpr std::array<std::pair<double, double>, 6> kBetas = {
      {{64.0, 2.0}, {16.0, 0.5}, {4.0, 1.0}, {300.0, 30.0}, {1e6, 1.0}, {40.0, 1e-6}}};
  for (const RotaryGeometry& geometry : kGeometries) {
    for (const auto& betas : kBetas) {
      const YarnOptions options = {.beta_fast = betas.first, .beta_slow = betas.second};
      const std::vector<double> lambda = yarn_factors(geometry, 9.3, options);
      const PlainRope rule = found(lambda, geometry, 8.0);
      if (rule.type != PlainRopeType::kYarn) continue;  // a band that leaves one value is linear or no band at all
      EXPECT_GE(rule.yarn.beta_fast, rule.yarn.beta_slow);
      expect_same(yarn_factors(geometry, rule.factor, rule.yarn), lambda);
      const CorrectionRange own = yarn_correction_range(geometry, options);
      const CorrectionRange given = yarn_correction_range(geometry, rule.yarn);
      const auto last = static_cast<double>(geometry.pairs() - 1);
      if (own.high <= last && own.low < own.high) {
        EXPECT_EQ(given.low, own.low);
        EXPECT_EQ(given.high, own.high);
        EXPECT_NEAR(rule.factor, 9.3, 1e-9);
      }
    }
  }
}

TEST(PlainRopeTest, BetasStayOffTheEdgesOfTheirPairs) {
  // Engines compute the band in float32 and some with other bases of the logarithm: a beta on an edge would move it.
  for (const RotaryGeometry& geometry : kGeometries) {
    for (int first = 1; first < 4; ++first) {
      for (int last = first + 1; last < 8; ++last) {
        const double low = first;
        const double high = last;
        std::vector<double> lambda(geometry.pairs());
        for (std::size_t pair = 0; pair < lambda.size(); ++pair) {
          const double ramp = std::fmin(1.0, std::fmax(0.0, (static_cast<double>(pair) - low) / (high - low)));
          lambda[pair] = 1.0 / (1.0 - ramp + ramp / 5.0);
        }
        const PlainRope rule = found(lambda, geometry, 4.0);
        ASSERT_EQ(rule.type, PlainRopeType::kYarn);
        for (const double shift : {0.999, 1.001}) {
          const CorrectionRange band = yarn_correction_range(
              geometry, {.beta_fast = rule.yarn.beta_fast * shift, .beta_slow = rule.yarn.beta_slow * shift});
          EXPECT_EQ(band.low, low);
          EXPECT_EQ(band.high, high);
        }
      }
    }
  }
}

TEST(PlainRopeTest, Llama3ComesBackWithItsNumbers) {
  for (const RotaryGeometry& geometry : kGeometries) {
    for (const Llama3Options& options :
         {Llama3Options{}, Llama3Options{.factor = 32.0},
          Llama3Options{.factor = 7.5, .low_freq_factor = 0.75, .high_freq_factor = 12.0}}) {
      const PlainRope rule = found(llama3_factors(geometry, options), geometry, options.factor);
      EXPECT_EQ(rule.type, PlainRopeType::kLlama3);
      EXPECT_NEAR(rule.factor, options.factor, 1e-9);
      EXPECT_NEAR(rule.low_freq_factor, options.low_freq_factor, 1e-6);
      EXPECT_NEAR(rule.high_freq_factor, options.high_freq_factor, 1e-6);
    }
  }
}

TEST(PlainRopeTest, OnePairBeyondTheToleranceIsNoRule) {
  const RotaryGeometry& geometry = kGeometries[0];
  for (const auto& lambda :
       {pi_factors(geometry, 8.0), ntk_factors(geometry, 8.0), yarn_factors(geometry, 8.0), llama3_factors(geometry)}) {
    for (const std::size_t pair : {std::size_t{1}, std::size_t{30}, std::size_t{62}}) {
      std::vector<double> within = lambda;
      within[pair] *= 1.0 + 0.5e-6;
      EXPECT_TRUE(plain_rope_of(factors_of(within), geometry, 32768).has_value());
      std::vector<double> beyond = lambda;
      beyond[pair] *= 1.0 + 3e-6;
      EXPECT_FALSE(plain_rope_of(factors_of(beyond), geometry, 32768).has_value()) << "pair " << pair;
    }
  }
}

TEST(PlainRopeTest, FactorsRoundedToTheGridAreNotTheirClosedForm) {
  const RotaryGeometry& geometry = kGeometries[0];
  const FactorGrid grid = {.steps_per_unit = 100, .upper_bound = 10.0};
  EXPECT_FALSE(plain_rope_of(round_to_grid(grid, yarn_factors(geometry, 8.0), 0, {}), geometry, 32768).has_value());
  EXPECT_TRUE(plain_rope_of(round_to_grid(grid, pi_factors(geometry, 8.0), 0, {}), geometry, 32768).has_value())
      << "8 is on the grid";
}

TEST(PlainRopeTest, LeadingPositionsOrAnUnknownShapeAreNoRule) {
  const RotaryGeometry& geometry = kGeometries[0];
  RescaleFactors leading = factors_of(pi_factors(geometry, 8.0));
  leading.n_hat = 1;
  EXPECT_FALSE(plain_rope_of(leading, geometry, 32768).has_value());
  EXPECT_FALSE(plain_rope_of(factors_of(arithmetic_ramp_factors(geometry, 8.0)), geometry, 32768).has_value());
  EXPECT_FALSE(plain_rope_of(factors_of(ntk_below_critical(64, 40, 8.0)), geometry, 32768).has_value());
  EXPECT_THROW(static_cast<void>(plain_rope_of(factors_of({1.0, 2.0}), geometry, 32768)), InputError);
}

TEST(PlainRopeTest, TextNamesTheNumbers) {
  EXPECT_EQ(found(yarn_factors(kGeometries[0], 8.0), kGeometries[0], 8.0).text(),
            "yarn with factor 8, beta_fast 32 and beta_slow 1");
  EXPECT_EQ(found(pi_factors(kGeometries[0], 8.0), kGeometries[0], 8.0).text(), "linear with factor 8");
}

}  // namespace
}  // namespace longrope

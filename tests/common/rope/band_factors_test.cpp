#include "common/rope/band_factors.h"

#include "common/error.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using testing::Each;
using testing::HasSubstr;

constexpr RotaryGeometry kLlama2{.rotary_dim = 128, .rope_theta = 1e4, .original_length = 4096};
constexpr RotaryGeometry kLlama3{.rotary_dim = 128, .rope_theta = 5e5, .original_length = 8192};
constexpr RotaryGeometry kSmall{.rotary_dim = 8, .rope_theta = 1e4, .original_length = 256};

// Weights of the boundary family at which formulas and derivatives are compared with the plain system.
constexpr std::array<BoundaryWeights, 7> kWeights = {
    {{0.0, 0.0}, {0.0, 1.0}, {1.0, 1.0}, {0.3, 2.5}, {40.0, 0.01}, {7.0, 0.0}, {1e-3, 1e3}}};

/// e(q), q = 0 … n: the stationary point of the sum of squares with its Lagrange multiplier, by Gaussian elimination
/// with pivoting on all n + 1 equations.
std::vector<double> curve_by_elimination(std::size_t n, const BoundaryWeights& weights) {
  std::vector<std::vector<double>> rows(n + 1, std::vector<double>(n + 2, 0.0));
  for (std::size_t q = 0; q + 1 < n; ++q) {
    rows[q][q] += 2.0;
    rows[q + 1][q + 1] += 2.0;
    rows[q][q + 1] -= 2.0;
    rows[q + 1][q] -= 2.0;
  }
  rows[0][0] += 2.0 * weights.alpha;
  rows[n - 1][n - 1] += 2.0 * weights.beta;
  for (std::size_t q = 0; q < n; ++q) rows[q][n] = rows[n][q] = 1.0;
  rows[n][n + 1] = 1.0;
  for (std::size_t column = 0; column <= n; ++column) {
    std::size_t pivot = column;
    for (std::size_t row = column + 1; row <= n; ++row) {
      if (std::abs(rows[row][column]) > std::abs(rows[pivot][column])) pivot = row;
    }
    std::swap(rows[column], rows[pivot]);
    for (std::size_t row = 0; row <= n; ++row) {
      if (row == column) continue;
      const double times = rows[row][column] / rows[column][column];
      for (std::size_t at = column; at < n + 2; ++at) rows[row][at] -= times * rows[column][at];
    }
  }
  std::vector<double> curve = {0.0};
  for (std::size_t q = 0; q < n; ++q) curve.push_back(curve.back() + rows[q][n + 1] / rows[q][q]);
  return curve;
}

void expect_lambda(const std::vector<double>& lambda, const std::map<std::size_t, double>& expected,
                   const std::string& what) {
  for (const auto& [pair, value] : expected) EXPECT_NEAR(lambda[pair] / value, 1.0, 1e-12) << what << ", pair " << pair;
}

TEST(BandFactorsTest, BandEndsAreThePairsAroundThirtyTwoAndOneRotations) {
  EXPECT_EQ(frequency_band(kLlama2), (FrequencyBand{20, 46}));
  EXPECT_EQ(frequency_band(kLlama3), (FrequencyBand{18, 35}));
  EXPECT_EQ(frequency_band(kSmall), (FrequencyBand{0, 2}));
  EXPECT_EQ(frequency_band(kLlama2).steps(), 26);
  // 16 rotations are 5 pairs further on, as ln 2 / (2·ln 1e4 / 128) is 4.8.
  EXPECT_EQ(frequency_band(kLlama2, {.beta_fast = 16.0, .beta_slow = 2.0}), (FrequencyBand{25, 41}));
}

TEST(BandFactorsTest, BandWithoutPairsOnASideEndsBesideTheModel) {
  EXPECT_EQ(frequency_band({8, 1e4, 128}), (FrequencyBand{-1, 2}));   // 128 tokens: 20 rotations at most
  EXPECT_EQ(frequency_band({8, 2.0, 65536}), (FrequencyBand{3, 4}));  // every pair rotates thousands of times
  EXPECT_EQ(frequency_band({8, 1e4, 2}), (FrequencyBand{-1, 0}));     // no pair rotates once
  EXPECT_THAT(bm_factors({8, 2.0, 65536}, 4.0), Each(1.0));
  EXPECT_THAT(bm_factors({8, 1e4, 2}, 4.0), Each(4.0));
}

TEST(BandFactorsTest, FormsMatchSumsOfTheirIncrements) {
  // Python, fractions.Fraction: ratio^(Σ_{j≤q} ε_j / Σ ε) with ε_q = q, q(n+1−q), (n+1−q)(n+q), not their sums' closed
  // forms; band from L0·theta^(−2i/d)/2π in float.
  expect_lambda(mrrope_pro_factors(kLlama2, 4.0),
                {{0, 1.0},
                 {20, 1.0},
                 {21, 1.0039573663613275},
                 {33, 1.4324834970826286},
                 {45, 3.6096322232028495},
                 {46, 4.0},
                 {63, 4.0}},
                "MrRoPE-Pro, LLaMA2");
  expect_lambda(mrrope_pro_factors(kLlama3, 16.0),
                {{19, 1.018286685530559}, {26, 1.9200933737095864}, {34, 11.757875938204789}, {35, 16.0}},
                "MrRoPE-Pro, LLaMA3");
  expect_lambda(bm_factors(kLlama2, 4.0),
                {{0, 1.0}, {20, 1.0}, {21, 1.0110630844868955}, {33, 2.0}, {45, 3.9562318725442935}, {46, 4.0}}, "BM");
  expect_lambda(bm_factors(kLlama3, 16.0),
                {{19, 1.0498443419391628}, {26, 3.562320541259669}, {34, 15.240354556225421}, {35, 16.0}}, "BM");
  expect_lambda(
      tail_spline_factors(kLlama2, 4.0),
      {{0, 1.0}, {20, 1.0}, {21, 1.081630356430202}, {33, 2.556726241448964}, {45, 3.9768172209664687}, {46, 4.0}},
      "TailSpline, LLaMA2");
  expect_lambda(tail_spline_factors(kLlama3, 16.0),
                {{19, 1.2682658081265845}, {26, 5.875134373481491}, {34, 15.583039563695106}, {35, 16.0}},
                "TailSpline, LLaMA3");
  expect_lambda(mrrope_pro_factors(kSmall, 8.0), {{0, 1.0}, {1, 2.0}, {2, 8.0}, {3, 8.0}}, "MrRoPE-Pro, small");
  expect_lambda(bm_factors(kSmall, 8.0), {{1, 2.8284271247461903}}, "BM, small");
  expect_lambda(tail_spline_factors(kSmall, 8.0), {{1, 3.4822022531844965}}, "TailSpline, small");
}

TEST(BandFactorsTest, BmAndTailSplineAreCornersOfTheBoundaryFamily) {
  for (const RotaryGeometry& geometry : {kLlama2, kLlama3, kSmall}) {
    for (const BandRotations rotations : {BandRotations{}, BandRotations{16.0, 1.0}, BandRotations{8.0, 0.25}}) {
      const FrequencyBand band = frequency_band(geometry, rotations);
      const std::vector<double> bm = bm_factors(geometry, 8.0, rotations);
      const std::vector<double> tail_spline = tail_spline_factors(geometry, 8.0, rotations);
      const std::vector<double> both = boundary_factors(geometry.pairs(), band, 8.0, {1.0, 1.0});
      const std::vector<double> tail = boundary_factors(geometry.pairs(), band, 8.0, {0.0, 1.0});
      for (std::size_t pair = 0; pair < geometry.pairs(); ++pair) {
        EXPECT_NEAR(both[pair] / bm[pair], 1.0, 1e-12) << pair;
        EXPECT_NEAR(tail[pair] / tail_spline[pair], 1.0, 1e-12) << pair;
      }
    }
  }
}

TEST(BandFactorsTest, BoundaryCurveMatchesNumpysSolution) {
  // numpy 2.4 linalg.solve of the 27 equations for n = 26; e(q) at q = 1, 7, 13, 20, 25.
  const std::vector<std::pair<BoundaryWeights, std::array<double, 5>>> golden = {
      {{0.0, 1.0},
       {0.05660377358490568, 0.3871956136107079, 0.6771488469601675, 0.9175939364618609, 0.9958071278825995}},
      {{0.3, 2.5},
       {0.02069297401347449, 0.24543446607931693, 0.5596406801411615, 0.8860344019150564, 0.9969521976259224}},
      {{40.0, 0.01},
       {0.0001246105919003125, 0.09361425033948455, 0.31285399792315766, 0.6661733365284773, 0.9445067497403948}},
      {{7.0, 0.0},
       {0.0006607201850016512, 0.0917892810856139, 0.30459200528576114, 0.6553835988920227, 0.9415262636273538}}};
  constexpr std::array<std::size_t, 5> kAt = {1, 7, 13, 20, 25};
  for (const auto& [weights, expected] : golden) {
    const BoundaryCurve curve = boundary_curve(26, weights);
    ASSERT_EQ(curve.value.size(), 27U);
    for (std::size_t at = 0; at < kAt.size(); ++at) {
      EXPECT_NEAR(curve.value[kAt[at]], expected[at], 1e-12) << weights.alpha << ", " << weights.beta;
    }
  }
}

TEST(BandFactorsTest, BoundaryCurveSolvesItsSystem) {
  for (const std::size_t n : {1U, 2U, 3U, 5U, 26U, 64U}) {
    for (const BoundaryWeights& weights : kWeights) {
      const std::vector<double> expected = curve_by_elimination(n, weights);
      const BoundaryCurve curve = boundary_curve(static_cast<std::int64_t>(n), weights);
      ASSERT_EQ(curve.value.size(), n + 1);
      for (std::size_t q = 0; q <= n; ++q) {
        EXPECT_NEAR(curve.value[q], expected[q], 1e-11) << n << ", " << weights.alpha << ", " << weights.beta;
      }
      EXPECT_EQ(curve.value.front(), 0.0);
      EXPECT_EQ(curve.value.back(), 1.0);
      EXPECT_TRUE(std::ranges::is_sorted(curve.value));
    }
  }
}

TEST(BandFactorsTest, BoundaryCurveDerivativesMatchCentralDifferences) {
  for (const std::int64_t n : {2, 5, 26}) {
    for (const BoundaryWeights& weights : {BoundaryWeights{0.3, 2.5}, {1.0, 1.0}, {0.05, 0.02}, {40.0, 7.0}}) {
      const BoundaryCurve curve = boundary_curve(n, weights);
      const double by_alpha = 1e-4 * weights.alpha;
      const double by_beta = 1e-4 * weights.beta;
      const BoundaryCurve less_alpha = boundary_curve(n, {weights.alpha - by_alpha, weights.beta});
      const BoundaryCurve more_alpha = boundary_curve(n, {weights.alpha + by_alpha, weights.beta});
      const BoundaryCurve less_beta = boundary_curve(n, {weights.alpha, weights.beta - by_beta});
      const BoundaryCurve more_beta = boundary_curve(n, {weights.alpha, weights.beta + by_beta});
      for (std::size_t q = 1; q < static_cast<std::size_t>(n); ++q) {
        const double alpha = (more_alpha.value[q] - less_alpha.value[q]) / (2.0 * by_alpha);
        const double beta = (more_beta.value[q] - less_beta.value[q]) / (2.0 * by_beta);
        EXPECT_NEAR(curve.by_alpha[q], alpha, 1e-6 * std::abs(alpha) + 1e-12) << n << ", " << q;
        EXPECT_NEAR(curve.by_beta[q], beta, 1e-6 * std::abs(beta) + 1e-12) << n << ", " << q;
      }
      EXPECT_EQ(curve.by_alpha.back(), 0.0);
      EXPECT_EQ(curve.by_beta.back(), 0.0);
    }
  }
}

TEST(BandFactorsTest, BoundaryCurveWithoutWeightsIsTheStraightLine) {
  const BoundaryCurve curve = boundary_curve(8, {});
  for (std::size_t q = 0; q <= 8; ++q) EXPECT_DOUBLE_EQ(curve.value[q], static_cast<double>(q) / 8.0);
}

TEST(BandFactorsTest, BoundaryWeightsMayBeHuge) {
  // ε_1 = ε_n = 0 remain: the curve of n − 2 steps with weights (1, 1), one step later.
  const double huge = std::numeric_limits<double>::max();
  const BoundaryCurve curve = boundary_curve(10, {huge, huge});
  const BoundaryCurve inner = boundary_curve(8, {1.0, 1.0});
  for (std::size_t q = 0; q <= 8; ++q) EXPECT_NEAR(curve.value[q + 1], inner.value[q], 1e-14) << q;
  EXPECT_EQ(curve.by_alpha[5], 0.0);
}

TEST(BandFactorsTest, ValuesOutOfRangeAreRefusedByName) {
  const double nan = std::nan("");
  EXPECT_THAT(refusal([] { (void)frequency_band(kLlama2, {.beta_fast = 1.0, .beta_slow = 2.0}); }),
              HasSubstr("beta_fast must be finite and at least beta_slow 2: 1"));
  EXPECT_THAT(refusal([] { (void)frequency_band(kLlama2, {.beta_fast = 1.0, .beta_slow = 0.0}); }),
              HasSubstr("beta_slow must be finite and positive: 0"));
  EXPECT_THAT(refusal([] { (void)frequency_band({7, 1e4, 4096}); }), HasSubstr("rotary_dim"));
  EXPECT_THAT(refusal([&] { (void)bm_factors(kLlama2, nan); }), HasSubstr("ratio must be finite and positive: nan"));
  EXPECT_THAT(refusal([] { (void)boundary_curve(4, {.alpha = -0.5, .beta = 1.0}); }),
              HasSubstr("alpha must be finite and at least 0: -0.5"));
  EXPECT_THAT(refusal([&] { (void)boundary_curve(4, {.alpha = 0.5, .beta = nan}); }), HasSubstr("beta must be"));
  EXPECT_THAT(refusal([] { (void)boundary_factors(64, {20, 20}, 4.0, {}); }),
              HasSubstr("band must have at least one step: 0"));
}

}  // namespace
}  // namespace longrope

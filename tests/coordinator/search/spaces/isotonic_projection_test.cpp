#include "coordinator/search/spaces/isotonic_projection.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <random>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;

std::vector<double> random_values(std::mt19937& random, std::size_t count, double low, double high) {
  std::vector<double> values;
  for (std::size_t index = 0; index < count; ++index) {
    values.push_back(low + (high - low) * static_cast<double>(random()) / 4294967295.0);
  }
  return values;
}

/// The best of all 2^(n−1) ways to cut the values into blocks that share their weighted mean, among those whose means
/// do not fall: the projection is one of them.
std::vector<double> best_of_all_blocks(const std::vector<double>& values, const std::vector<double>& weights) {
  const std::size_t count = values.size();
  std::vector<double> best;
  double best_cost = std::numeric_limits<double>::infinity();
  for (std::size_t cuts = 0; cuts < std::size_t{1} << (count - 1); ++cuts) {
    std::vector<double> fit;
    for (std::size_t begin = 0; begin < count;) {
      std::size_t end = begin + 1;
      while (end < count && (cuts >> (end - 1) & 1U) == 0) ++end;
      double sum = 0.0;
      double weight = 0.0;
      for (std::size_t index = begin; index < end; ++index) {
        sum += weights[index] * values[index];
        weight += weights[index];
      }
      fit.insert(fit.end(), end - begin, sum / weight);
      begin = end;
    }
    double cost = 0.0;
    for (std::size_t index = 0; index < count; ++index) {
      cost += weights[index] * (fit[index] - values[index]) * (fit[index] - values[index]);
    }
    if (std::ranges::is_sorted(fit) && cost < best_cost) {
      best_cost = cost;
      best = fit;
    }
  }
  return best;
}

TEST(IsotonicProjectionTest, IsTheBestOfAllBlockPartitions) {
  std::mt19937 random(7);
  for (std::size_t count = 1; count <= 10; ++count) {
    for (int trial = 0; trial < 20; ++trial) {
      const std::vector<double> values = random_values(random, count, -1.0, 1.0);
      std::vector<double> weights = random_values(random, count, -3.0, 3.0);
      for (double& weight : weights) weight = std::pow(10.0, weight);
      const std::vector<double> expected = best_of_all_blocks(values, weights);
      const std::vector<double> projected = isotonic_projection(values, weights);
      ASSERT_EQ(projected.size(), count);
      for (std::size_t index = 0; index < count; ++index) {
        EXPECT_NEAR(projected[index], expected[index], 1e-12) << count << " values, trial " << trial;
      }
    }
  }
}

TEST(IsotonicProjectionTest, MatchesScipy) {
  // scipy 1.17.1, scipy.optimize.isotonic_regression(y, weights=w).x.
  const std::vector<double> projected = isotonic_projection({1.0, 3.0, 2.0, 4.0, 3.5, 3.0, 6.0, 5.0, -1.0, 7.0},
                                                            {1.0, 2.0, 0.5, 4.0, 1.0, 3.0, 0.25, 1.0, 1e-3, 2.0});
  const std::vector<double> expected = {
      1.0, 2.8, 2.8, 3.5625, 3.5625, 3.5625, 5.1950439648281375, 5.1950439648281375, 5.1950439648281375, 7.0};
  for (std::size_t index = 0; index < expected.size(); ++index) {
    EXPECT_NEAR(projected[index], expected[index], 1e-14) << index;
  }
}

TEST(IsotonicProjectionTest, MatchesScipyWithTheWeightsOfAStep) {
  // The same on 32 values ln(1 + 7i/31) + 0.3·sin(5i) with weights 1/c², c = min(1, 0.03/f), f = 1e4^(−2i/64).
  std::vector<double> values;
  std::vector<double> weights;
  for (int pair = 0; pair < 32; ++pair) {
    values.push_back(std::log(1.0 + 7.0 * pair / 31.0) + 0.3 * std::sin(5.0 * pair));
    const double scale = std::min(1.0, 0.03 / std::pow(1e4, -2.0 * pair / 64.0));
    weights.push_back(1.0 / (scale * scale));
  }
  const std::vector<double> projected = isotonic_projection(values, weights);
  const std::map<std::size_t, double> expected = {
      {0, -0.030262732702080557}, {1, -0.030262732702080557}, {5, 0.7969662870700657},
      {9, 1.234466380413923},     {12, 1.234466380413923},    {17, 1.5238254036265333},
      {23, 1.8744974364922986},   {28, 2.0251217293196615},   {31, 2.0251217293196615}};
  for (const auto& [pair, value] : expected) EXPECT_NEAR(projected[pair], value, 1e-13) << pair;
}

TEST(IsotonicProjectionTest, SatisfiesTheOptimalityConditions) {
  // In each pool the weighted residuals sum to 0, and no first part of it would rather be lower nor last part higher.
  std::mt19937 random(11);
  for (int trial = 0; trial < 20; ++trial) {
    const std::vector<double> values = random_values(random, 64, 0.0, 2.0);
    const std::vector<double> weights = random_values(random, 64, 0.5, 1111.0);
    const std::vector<double> projected = isotonic_projection(values, weights);
    EXPECT_TRUE(std::ranges::is_sorted(projected));
    double residual = 0.0;  // of the pool, up to and including this value
    for (std::size_t index = 0; index < 64; ++index) {
      residual += weights[index] * (values[index] - projected[index]);
      EXPECT_GE(residual, -1e-9);
      if (index == 63 || projected[index + 1] > projected[index]) {
        EXPECT_NEAR(residual, 0.0, 1e-9);
        residual = 0.0;
      }
    }
  }
}

TEST(IsotonicProjectionTest, ValuesThatDoNotFallComeBackBitForBit) {
  const std::vector<double> values = {-0.1, 0.1, 0.1, 0.3, 1.0 / 3.0};
  EXPECT_EQ(isotonic_projection(values, {0.1, 3.0, 7.0, 0.3, 11.0}), values);
  EXPECT_TRUE(isotonic_projection({}, {}).empty());
}

TEST(IsotonicProjectionTest, ProjectingTwiceChangesNothing) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 20; ++trial) {
    const std::vector<double> values = random_values(random, 40, -5.0, 5.0);
    const std::vector<double> weights = random_values(random, 40, 1e-4, 1e4);
    const std::vector<double> once = isotonic_projection(values, weights);
    EXPECT_EQ(isotonic_projection(once, weights), once);
  }
}

TEST(IsotonicProjectionTest, ValuesOutOfRangeAreRefusedByName) {
  EXPECT_THAT(refusal([] { (void)isotonic_projection({1.0, 2.0}, {1.0}); }), HasSubstr("1 weights, 2 values"));
  EXPECT_THAT(refusal([] { (void)isotonic_projection({1.0, std::nan("")}, {1.0, 1.0}); }),
              HasSubstr("value must be finite: entry 1 is nan"));
  for (const double weight : {0.0, -1.0, std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(refusal([&] { (void)isotonic_projection({1.0}, {weight}); }), HasSubstr("weight must be"));
  }
}

}  // namespace
}  // namespace longrope

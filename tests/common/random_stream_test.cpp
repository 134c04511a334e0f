#include "common/random_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>
#include <vector>

namespace longrope {
namespace {

TEST(RandomStreamTest, GoldenValuesDoNotChange) {
  // Searches on disk are replayed from these numbers: a change here breaks every one of them. Computed independently
  // (Python: hashlib, SplitMix64 after Steele, Lea and Flood).
  RandomStream stream(42, "128k", 7);
  EXPECT_EQ(stream.bits(), 5137710498956066316U);
  EXPECT_EQ(stream.bits(), 16874273620606136390U);
  EXPECT_EQ(stream.bits(), 2103138944683827164U);
  EXPECT_EQ(stream.uniform(), 0.9214339203153757);
  EXPECT_EQ(stream.below(1000), 270U);
  EXPECT_EQ(stream.between(-50, 50), 37);
  EXPECT_NEAR(stream.normal(), 0.4489725227161502, 1e-14);
}

TEST(RandomStreamTest, SameKeyGivesSameStream) {
  RandomStream first(1, "a", 2);
  RandomStream second(1, "a", 2);
  for (int draw = 0; draw < 100; ++draw) EXPECT_EQ(first.bits(), second.bits());
}

TEST(RandomStreamTest, EveryPartOfTheKeyMatters) {
  std::set<std::uint64_t> first_draws;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    for (const char* stage : {"a", "b", "a1", ""}) {
      for (std::uint64_t index = 0; index < 10; ++index) first_draws.insert(RandomStream(seed, stage, index).bits());
    }
  }
  EXPECT_EQ(first_draws.size(), 400U);
}

TEST(RandomStreamTest, UniformStaysInHalfOpenUnitIntervalWithRightMoments) {
  RandomStream stream(3, "uniform", 0);
  constexpr int kDraws = 100'000;
  double sum = 0.0;
  double squares = 0.0;
  for (int draw = 0; draw < kDraws; ++draw) {
    const double value = stream.uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);  // > 5 standard errors
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 0.005);
}

TEST(RandomStreamTest, BelowIsEvenlySpread) {
  RandomStream stream(4, "below", 0);
  std::array<int, 7> counts{};
  for (int draw = 0; draw < 70'000; ++draw) ++counts.at(stream.below(counts.size()));
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 500);  // > 5 standard deviations
}

TEST(RandomStreamTest, BelowAHugeBoundIsUnbiased) {
  // With bound 3·2^62 a plain remainder would fall below 2^62 half the time; unbiased, a third.
  RandomStream stream(5, "huge", 0);
  constexpr std::uint64_t kThird = std::uint64_t{1} << 62U;
  int low = 0;
  for (int draw = 0; draw < 30'000; ++draw) low += stream.below(3 * kThird) < kThird ? 1 : 0;
  EXPECT_NEAR(low, 10'000, 500);
}

TEST(RandomStreamTest, BetweenIncludesBothEndsAndTheWholeRange) {
  RandomStream stream(6, "between", 0);
  std::set<std::int64_t> seen;
  for (int draw = 0; draw < 200; ++draw) seen.insert(stream.between(-2, 1));
  EXPECT_EQ(seen, (std::set<std::int64_t>{-2, -1, 0, 1}));
  EXPECT_EQ(stream.between(9, 9), 9);
  EXPECT_NO_THROW(stream.between(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()));
}

TEST(RandomStreamTest, ChanceZeroNeverAndOneAlways) {
  RandomStream stream(7, "chance", 0);
  for (int draw = 0; draw < 1000; ++draw) {
    EXPECT_FALSE(stream.chance(0.0));
    EXPECT_TRUE(stream.chance(1.0));
  }
}

TEST(RandomStreamTest, NormalHasStandardMomentsAndTails) {
  RandomStream stream(8, "normal", 0);
  constexpr int kDraws = 100'000;
  double sum = 0.0;
  double squares = 0.0;
  int beyond_two = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    const double value = stream.normal();
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += value * value;
    beyond_two += std::abs(value) > 2.0 ? 1 : 0;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 0.02);
  EXPECT_NEAR(squares / kDraws, 1.0, 0.03);
  EXPECT_NEAR(beyond_two, 0.0455 * kDraws, 400);  // P(|x| > 2)
}

TEST(RandomStreamTest, EmptyRangeIsAProgrammingError) {
  RandomStream stream(9, "empty", 0);
  EXPECT_THROW(stream.below(0), std::invalid_argument);
  EXPECT_THROW(stream.between(1, 0), std::invalid_argument);
}

TEST(RandomStreamTest, ShuffleKeepsEveryValueInAnOrderOfItsKey) {
  const auto shuffled = [](std::uint64_t seed) {
    std::vector<std::size_t> values = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    RandomStream(seed, "stage", 0).shuffle(values);
    return values;
  };
  EXPECT_EQ(shuffled(1), shuffled(1));
  EXPECT_NE(shuffled(1), shuffled(2));
  std::vector<std::size_t> sorted = shuffled(1);
  std::ranges::sort(sorted);
  EXPECT_EQ(sorted, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  std::vector<std::size_t> none;
  RandomStream(1, "stage", 0).shuffle(none);
  EXPECT_TRUE(none.empty());
}

}  // namespace
}  // namespace longrope

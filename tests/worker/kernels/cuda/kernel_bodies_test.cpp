#include "worker/kernels/cuda/kernel_bodies.h"

#include "tests/worker/kernels/cuda/bodies_on_host.h"
#include "worker/kernels/cpu_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

namespace longrope {
namespace {

/// Rounds to nearest even, as __nv_bfloat16 does.
struct Bfloat16 {
  Bfloat16() = default;
  explicit Bfloat16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    bits = static_cast<std::uint16_t>((word + 0x7FFFU + ((word >> 16U) & 1U)) >> 16U);
  }
  explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16U); }
  std::uint16_t bits = 0;
};

template <typename Element>
std::vector<Element> random_elements(std::size_t count, float scale) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<Element> values(count);
  std::ranges::generate(values, [&] { return static_cast<Element>(normal(random) * scale); });
  return values;
}

template <typename Element>
double at(const std::vector<Element>& values, std::int64_t index) {
  return static_cast<double>(static_cast<float>(values[static_cast<std::size_t>(index)]));
}

template <typename Element>
class RotationBodyTest : public ::testing::Test {};
using Elements = ::testing::Types<float, Bfloat16>;
TYPED_TEST_SUITE(RotationBodyTest, Elements);

// Three of five heads in a row are rotated; each has two channels behind its pairs.
constexpr std::int64_t kTokens = 9;
constexpr std::int64_t kHeads = 3;
constexpr std::int64_t kPairs = 5;
constexpr std::int64_t kHeadDim = 2 * kPairs + 2;
constexpr std::int64_t kStride = 5 * kHeadDim;
constexpr std::int64_t kFirstPosition = 1'999'996;

template <typename Element, typename Real>
Rotation<Real> rotation_of(std::vector<Element>& rows, const RotaryAngles<Real>& angles) {
  return {.rows = rows.data(),
          .stride = kStride,
          .tokens = kTokens,
          .heads = kHeads,
          .head_dim = kHeadDim,
          .first_position = kFirstPosition,
          .pairs = kPairs,
          .angles = angles};
}

template <typename Element, typename Real>
void rotate_rows(std::vector<Element>& rows, const RotaryAngles<Real>& angles) {
  rotate_on_host<Element>(rotation_of(rows, angles));
}

// Five heads in a row: two queries, a key, its value, and one that is none of the call's.
TYPED_TEST(RotationBodyTest, KeysAndValuesGoToTheCache) {
  const std::vector<double> angles = {1.0, 0.3, 0.1, 0.01, 0.001};
  std::vector<TypeParam> rows = random_elements<TypeParam>(kTokens * kStride, 1.0F);
  const std::vector<TypeParam> before = rows;
  std::vector<TypeParam> in_place = rows;
  rotate_rows(in_place, RotaryAngles<double>{angles.data(), angles.data(), 1.0, 0});
  std::vector<TypeParam> keys(kTokens * kHeadDim);
  std::vector<TypeParam> values(kTokens * kHeadDim);
  Rotation<double> rotation = rotation_of(rows, RotaryAngles<double>{angles.data(), angles.data(), 1.0, 0});
  rotation.cache = {.keys = keys.data(), .values = values.data(), .stride = kHeadDim, .heads = 1};
  rotate_on_host<TypeParam>(rotation);
  for (std::int64_t cell = 0; cell < kTokens * kStride; ++cell) {
    const std::int64_t head = cell % kStride / kHeadDim;
    const std::int64_t cached = cell / kStride * kHeadDim + cell % kHeadDim;
    EXPECT_EQ(at(rows, cell), at(head < 2 ? in_place : before, cell)) << cell;
    if (head == 2) {
      EXPECT_EQ(at(keys, cached), at(in_place, cell)) << cell;
    } else if (head == 3) {
      EXPECT_EQ(at(values, cached), at(before, cell)) << cell;
    }
  }
}

TYPED_TEST(RotationBodyTest, PositionsBeginAgainWithEachSequence) {
  const std::vector<double> angles = {1.0, 0.3, 0.1, 0.01, 0.001};
  constexpr std::int64_t kSequence = 3;
  std::vector<TypeParam> rows = random_elements<TypeParam>(kTokens * kStride, 1.0F);
  std::vector<TypeParam> one_by_one = rows;
  Rotation<double> rotation = rotation_of(rows, RotaryAngles<double>{angles.data(), angles.data(), 1.0, 0});
  rotation.first_position = 5;
  rotation.sequence_tokens = kSequence;
  rotate_on_host<TypeParam>(rotation);
  rotation.sequence_tokens = 0;
  rotation.tokens = kSequence;
  for (std::int64_t first = 0; first < kTokens; first += kSequence) {
    rotation.rows = one_by_one.data() + first * kStride;
    rotate_on_host<TypeParam>(rotation);
  }
  for (std::int64_t cell = 0; cell < kTokens * kStride; ++cell) EXPECT_EQ(at(rows, cell), at(one_by_one, cell)) << cell;
}

TYPED_TEST(RotationBodyTest, RotatesPairsOfAllHeadsAndLeavesTheRest) {
  const std::vector<double> original = {1.0, 0.3, 0.1, 0.01, 0.001};
  const std::vector<double> rescaled = {0.9, 0.2, 0.05, 0.002, 0.0001};
  std::vector<TypeParam> rows = random_elements<TypeParam>(kTokens * kStride, 1.0F);
  const std::vector<TypeParam> before = rows;
  constexpr std::int64_t kNHat = 2'000'000;  // within the tile
  rotate_rows(rows, RotaryAngles<double>{original.data(), rescaled.data(), 1.5, kNHat});
  // Values below 8: a few units in the last place of float, half a unit of bfloat16.
  const double tolerance = std::is_same_v<TypeParam, float> ? 2e-6 : 0.016;
  for (std::int64_t cell = 0; cell < kTokens * kStride; ++cell) {
    const std::int64_t position = kFirstPosition + cell / kStride;
    const std::int64_t channel = cell % kHeadDim;
    double expected = at(before, cell);
    if (cell % kStride < kHeads * kHeadDim && channel < 2 * kPairs) {
      const std::int64_t pair = channel % kPairs;
      const std::int64_t first = cell - channel + pair;
      const bool keeps = position < kNHat;
      const double angle =
          static_cast<double>(position) * (keeps ? original : rescaled)[static_cast<std::size_t>(pair)];
      const double a = at(before, first);
      const double b = at(before, first + kPairs);
      expected = (keeps ? 1.0 : 1.5) * (channel < kPairs ? a * std::cos(angle) - b * std::sin(angle)
                                                         : b * std::cos(angle) + a * std::sin(angle));
      EXPECT_NEAR(at(rows, cell), expected, tolerance) << cell;
    } else {
      EXPECT_EQ(at(rows, cell), expected) << cell;
    }
  }
}

TEST(RotationBodyAgainstCpuKernelsTest, Float32HasTheBitsOfTheCpuKernels) {
  if (cpu_kernels(OperandType::kFloat32) == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  }
  const std::vector<float> frequencies = {1.0F, 0.3F, 0.1F, 0.01F, 0.001F};
  const RotaryAngles<float> angles{frequencies.data(), frequencies.data(), 1.1F, 0};
  std::vector<float> rows = random_elements<float>(kTokens * kStride, 1.0F);
  std::vector<float> expected = rows;
  std::vector<float> cos;
  std::vector<float> sin;
  for (std::int64_t token = 0; token < kTokens; ++token) {
    for (std::int64_t pair = 0; pair < kPairs; ++pair) {
      const CosSin values = rotary_cos_sin(angles, kFirstPosition + token, pair);
      cos.push_back(values.cos);
      sin.push_back(values.sin);
    }
  }
  cpu_kernels(OperandType::kFloat32)
      ->rotate({expected.data(), kStride}, kTokens, kHeads, kHeadDim, cos.data(), sin.data(), kPairs);
  rotate_rows(rows, angles);
  EXPECT_EQ(rows, expected);
}

/// All columns in tiles of `width`, as the scorer passes them.
template <typename Element>
std::vector<LogitState> states_of(const std::vector<Element>& logits, std::int64_t columns, std::int64_t width,
                                  const std::vector<std::int64_t>& targets) {
  std::vector<LogitState> states(targets.size(), no_logits());
  for (std::int64_t first = 0; first < columns; first += width) {
    add_logits_on_host<Element>({.logits = logits.data() + first,
                                 .stride = columns,
                                 .rows = static_cast<std::int64_t>(targets.size()),
                                 .columns = std::min(width, columns - first),
                                 .first_column = first,
                                 .targets = targets.data(),
                                 .states = states.data()});
  }
  return states;
}

template <typename Element>
class LogitsBodyTest : public ::testing::Test {};
TYPED_TEST_SUITE(LogitsBodyTest, Elements);

// Fewer columns than threads, as many, one more, and several for each; tiles that end anywhere.
TYPED_TEST(LogitsBodyTest, AgreesWithDoublePrecisionForAnyTile) {
  for (const std::int64_t columns : {1, 255, 256, 257, 3000}) {
    const std::vector<TypeParam> logits = random_elements<TypeParam>(static_cast<std::size_t>(2 * columns), 20.0F);
    const std::vector<std::int64_t> targets = {columns - 1, columns / 2};
    for (const std::int64_t width : {columns, std::int64_t{100}, std::int64_t{257}}) {
      const std::vector<LogitState> states = states_of(logits, columns, width, targets);
      for (std::int64_t row = 0; row < 2; ++row) {
        double sum = 0.0;
        std::int64_t argmax = 0;
        for (std::int64_t column = 0; column < columns; ++column) {
          const double logit = at(logits, row * columns + column);
          sum += std::exp(logit - 60.0);
          if (logit > at(logits, row * columns + argmax)) argmax = column;
        }
        const LogitState& state = states[static_cast<std::size_t>(row)];
        const double target = at(logits, row * columns + targets[static_cast<std::size_t>(row)]);
        EXPECT_EQ(state.argmax, argmax);
        EXPECT_EQ(static_cast<double>(state.target_logit), target);
        // Differences of up to 150 in float32: half a unit in the last place is 8e-6.
        EXPECT_NEAR(static_cast<double>(negative_log_likelihood(state)), 60.0 + std::log(sum) - target, 3e-5);
      }
    }
  }
}

TEST(LogitsBodyAgainstCpuKernelsTest, HostileLogitsGiveWhatTheCpuKernelsGive) {
  if (cpu_kernels(OperandType::kFloat32) == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  }
  constexpr std::int64_t kColumns = 600;
  constexpr std::int64_t kWidth = 300;
  const float nan = std::nanf("");
  struct Case {
    std::int64_t first;
    std::int64_t last;
    float value;
  };
  // One column, columns that are all of a thread's, a whole tile, the second tile, everything.
  for (const Case& bad :
       {Case{5, 6, -INFINITY}, Case{5, 6, INFINITY}, Case{5, 6, nan}, Case{0, 299, -INFINITY}, Case{0, 300, -INFINITY},
        Case{300, 600, -INFINITY}, Case{0, 600, -INFINITY}, Case{300, 600, nan}, Case{299, 300, INFINITY}}) {
    std::vector<float> logits = random_elements<float>(kColumns, 3.0F);
    std::fill(logits.begin() + bad.first, logits.begin() + bad.last, bad.value);
    const std::int64_t target = 550;
    LogitState expected = no_logits();
    for (std::int64_t first = 0; first < kColumns; first += kWidth) {
      cpu_kernels(OperandType::kFloat32)
          ->add_logits({logits.data() + first, kColumns, 1}, first, kWidth, &target, &expected);
    }
    const LogitState state = states_of(logits, kColumns, kWidth, {target}).front();
    const float nll = negative_log_likelihood(state);
    const float expected_nll = negative_log_likelihood(expected);
    EXPECT_EQ(std::isnan(nll), std::isnan(expected_nll)) << bad.first << "–" << bad.last << ": " << bad.value;
    if (std::isnan(expected_nll)) continue;
    if (std::isinf(expected_nll)) {
      EXPECT_EQ(nll, expected_nll);  // the target's logit is −∞
    } else {
      EXPECT_NEAR(nll, expected_nll, 1e-5F);
    }
    EXPECT_EQ(state.argmax, expected.argmax);
  }
}

TEST(LogitsBodyTieTest, ALaterEqualLogitDoesNotWinWhicheverThreadSawIt) {
  // Column 300 belongs to a lower thread than column 299, column 700 to another tile.
  std::vector<float> logits(1000, 0.0F);
  for (const std::size_t column : {299U, 300U, 700U}) logits[column] = 4.0F;
  EXPECT_EQ(states_of(logits, 1000, 512, {0}).front().argmax, 299);
}

TEST(LogitsBodyRowsTest, ARowIsBitEqualWhateverOtherRowsThereAre) {
  const std::vector<float> logits = random_elements<float>(3 * 500, 5.0F);
  const std::vector<LogitState> together = states_of(logits, 500, 200, {1, 2, 3});
  const std::vector<float> last(logits.end() - 500, logits.end());
  const LogitState alone = states_of(last, 500, 200, {3}).front();
  EXPECT_EQ(alone.exponentials, together[2].exponentials);
  EXPECT_EQ(alone.largest, together[2].largest);
  EXPECT_EQ(alone.target_logit, together[2].target_logit);
}

}  // namespace
}  // namespace longrope

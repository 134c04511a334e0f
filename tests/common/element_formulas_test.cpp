#include "common/element_formulas.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace longrope {
namespace {

constexpr std::int64_t kTwoMillion = 2'097'152;

TEST(ElementFormulasTest, Fp64TurnsAgreeWithExtendedPrecisionUpToTwoMillionTokens) {
  const std::vector<double> original = {1.0, 0.1, 1e-4};
  const std::vector<double> rescaled = {1.0 / 1.3, 0.1 / 8.0, 1e-4 / 512.0};
  const RotaryAngles<double> angles{original.data(), rescaled.data(), 1.25, 100};
  for (const std::int64_t position : {std::int64_t{0}, std::int64_t{99}, std::int64_t{100}, kTwoMillion - 1}) {
    for (std::int64_t pair = 0; pair < 3; ++pair) {
      const bool keeps = position < 100;
      const long double frequency = (keeps ? original : rescaled)[static_cast<std::size_t>(pair)];
      const long double angle = static_cast<long double>(position) * frequency;
      const long double magnitude = keeps ? 1.0L : 1.25L;
      const Turn turn = rotary_turn(angles, position, pair);
      // Half a float's unit in the last place below 2, and 2^21·2^-53 of the angle.
      EXPECT_NEAR(static_cast<double>(turn.cos), static_cast<double>(std::cos(angle) * magnitude), 6.1e-8);
      EXPECT_NEAR(static_cast<double>(turn.sin), static_cast<double>(std::sin(angle) * magnitude), 6.1e-8);
    }
  }
}

TEST(ElementFormulasTest, HfFp32AnglesAreRoundedToFloat) {
  const float frequency = 0.7F;
  const RotaryAngles<float> angles{&frequency, &frequency, 1.0F, 0};
  const std::int64_t position = kTwoMillion - 1;
  const float angle = rotary_angle(angles, position, 0);
  EXPECT_EQ(angle, static_cast<float>(position) * frequency);
  // The nearest floats lie an eighth of a radian apart.
  EXPECT_NEAR(static_cast<double>(angle), static_cast<double>(position) * static_cast<double>(frequency), 1.0 / 16.0);
  EXPECT_EQ(rotary_turn(angles, position, 0).cos, std::cos(angle));
}

TEST(ElementFormulasTest, TurningIsAComplexProduct) {
  const ChannelPair result = turned({3.0F, -2.0F}, {.cos = 0.6F, .sin = 0.8F});
  // (3 − 2i)·(0.6 + 0.8i)
  EXPECT_NEAR(result.first, 3.4F, 1e-6F);
  EXPECT_NEAR(result.second, 1.2F, 1e-6F);
}

LogitState state_of(std::span<const float> logits, std::int32_t first_column = 0) {
  LogitState state = no_logits();
  for (std::size_t index = 0; index < logits.size(); ++index) {
    add_logit(state, first_column + static_cast<std::int32_t>(index), logits[index]);
  }
  return state;
}

long double log_sum(std::span<const float> logits) {
  long double sum = 0.0L;
  for (const float logit : logits) sum += std::exp(static_cast<long double>(logit) - 500.0L);
  return 500.0L + std::log(sum);
}

std::vector<float> random_logits(std::size_t count, float scale) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random) * scale;
  return logits;
}

TEST(ElementFormulasTest, LogSumExpAgreesWithExtendedPrecisionInAnyDivision) {
  for (const float scale : {1.0F, 100.0F}) {
    const std::vector<float> logits = random_logits(1000, scale);
    const long double expected = log_sum(logits);
    for (const std::size_t part : {1000U, 333U, 1U}) {
      LogitState state = no_logits();
      for (std::size_t first = 0; first < logits.size(); first += part) {
        const std::size_t count = std::min(part, logits.size() - first);
        add_tile(state, state_of(std::span(logits).subspan(first, count), static_cast<std::int32_t>(first)));
      }
      state.target_logit = 0.0F;
      // A thousand additions and exponentials of two units in the last place, 6e-8 each, at worst: 1e-4.
      EXPECT_NEAR(static_cast<double>(negative_log_likelihood(state)), static_cast<double>(expected), 1e-4);
      EXPECT_EQ(state.argmax, std::max_element(logits.begin(), logits.end()) - logits.begin());
    }
  }
}

TEST(ElementFormulasTest, ALaterEqualLogitDoesNotWin) {
  const std::vector<float> logits = {1.0F, 2.0F, 2.0F};
  EXPECT_EQ(state_of(logits).argmax, 1);
  const LogitState lower = state_of(logits, 0);
  const LogitState higher = state_of(logits, 3);
  EXPECT_EQ(merged(lower, higher).argmax, 1);
  EXPECT_EQ(merged(higher, lower).argmax, 1);  // threads are not joined in the order of columns
  EXPECT_EQ(merged(higher, lower).exponentials, 2.0F * lower.exponentials);
}

TEST(ElementFormulasTest, MergingKeepsTheTargetOfTheFirst) {
  LogitState first = state_of(std::vector<float>{1.0F});
  first.target_logit = 7.0F;
  EXPECT_EQ(merged(first, state_of(std::vector<float>{2.0F}, 1)).target_logit, 7.0F);
}

TEST(ElementFormulasTest, MinusInfinityAddsNothing) {
  const LogitState state = state_of(std::vector<float>{-INFINITY, 2.0F, -INFINITY});
  EXPECT_EQ(state.largest, 2.0F);
  EXPECT_EQ(state.exponentials, 1.0F);
  EXPECT_EQ(state.argmax, 1);
  const LogitState nothing = state_of(std::vector<float>{-INFINITY});
  EXPECT_EQ(merged(nothing, nothing).exponentials, 0.0F);
  EXPECT_EQ(merged(nothing, state).exponentials, 1.0F);
  EXPECT_EQ(merged(state, nothing).argmax, 1);
}

TEST(ElementFormulasTest, ATileOfNothingButMinusInfinityAtTheBeginningIsNotANumber) {
  LogitState row = no_logits();
  add_tile(row, state_of(std::vector<float>{-INFINITY, -INFINITY}));
  EXPECT_TRUE(std::isnan(row.exponentials));
  row = state_of(std::vector<float>{1.0F});
  add_tile(row, state_of(std::vector<float>{-INFINITY}, 1));
  EXPECT_EQ(row.exponentials, 1.0F);
}

TEST(ElementFormulasTest, NaNAndInfinityAreNeverLost) {
  for (const float bad : {std::nanf(""), INFINITY}) {
    for (const std::vector<float>& logits : {std::vector<float>{bad}, {bad, 1.0F}, {1.0F, bad}, {1.0F, bad, 2.0F}}) {
      const LogitState state = state_of(logits);
      EXPECT_TRUE(std::isnan(state.exponentials));
      const LogitState good = state_of(std::vector<float>{50.0F});
      for (const LogitState& joined : {merged(state, good), merged(good, state), merged(state, state)}) {
        EXPECT_TRUE(std::isnan(joined.exponentials));
      }
    }
  }
}

}  // namespace
}  // namespace longrope

#include "worker/kernels/logit_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace longrope {
namespace {

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

TEST(LogitStateTest, LogSumExpAgreesWithExtendedPrecisionInAnyDivision) {
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

TEST(LogitStateTest, ALaterEqualLogitDoesNotWin) {
  const std::vector<float> logits = {1.0F, 2.0F, 2.0F};
  EXPECT_EQ(state_of(logits).argmax, 1);
  const LogitState lower = state_of(logits, 0);
  const LogitState higher = state_of(logits, 3);
  EXPECT_EQ(merged(lower, higher).argmax, 1);
  EXPECT_EQ(merged(higher, lower).argmax, 1);  // threads are not joined in the order of columns
  EXPECT_EQ(merged(higher, lower).exponentials, 2.0F * lower.exponentials);
}

TEST(LogitStateTest, MergingKeepsTheTargetOfTheFirst) {
  LogitState first = state_of(std::vector<float>{1.0F});
  first.target_logit = 7.0F;
  EXPECT_EQ(merged(first, state_of(std::vector<float>{2.0F}, 1)).target_logit, 7.0F);
}

TEST(LogitStateTest, MinusInfinityAddsNothing) {
  const LogitState state = state_of(std::vector<float>{-INFINITY, 2.0F, -INFINITY});
  EXPECT_EQ(state.largest, 2.0F);
  EXPECT_EQ(state.exponentials, 1.0F);
  EXPECT_EQ(state.argmax, 1);
  const LogitState nothing = state_of(std::vector<float>{-INFINITY});
  EXPECT_EQ(merged(nothing, nothing).exponentials, 0.0F);
  EXPECT_EQ(merged(nothing, state).exponentials, 1.0F);
  EXPECT_EQ(merged(state, nothing).argmax, 1);
}

TEST(LogitStateTest, ATileOfNothingButMinusInfinityAtTheBeginningIsNotANumber) {
  LogitState row = no_logits();
  add_tile(row, state_of(std::vector<float>{-INFINITY, -INFINITY}));
  EXPECT_TRUE(std::isnan(row.exponentials));
  row = state_of(std::vector<float>{1.0F});
  add_tile(row, state_of(std::vector<float>{-INFINITY}, 1));
  EXPECT_EQ(row.exponentials, 1.0F);
}

TEST(LogitStateTest, NaNAndInfinityAreNeverLost) {
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

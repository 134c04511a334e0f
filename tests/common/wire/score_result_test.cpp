#include "common/wire/score_result.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kLength = 10'000;  // 2 full blocks and one of 1,808
constexpr std::int64_t kScored = kLength - 1;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

ScoreResult good_result() {
  return {.nll_sum = 600.0,
          .scored_tokens = kScored,
          .blocks = {{100.0, 4095}, {200.0, 4096}, {300.0, 1808}},
          .seconds = 0.5,
          .peak_memory_bytes = 1000};
}

template <typename Change>
std::string verdict(const Change& change) {
  ScoreResult result = good_result();
  change(result);
  return why_rejected(result, {.scored_tokens = kScored, .length = kLength});
}

TEST(EvaluationTest, TotalsAddBlocksUpHoweverManyADocumentHas) {
  ScoreResult total;
  add_result(good_result(), total);
  add_result({.nll_sum = 7.0, .scored_tokens = 9, .blocks = {{7.0, 9}}, .seconds = 1.0, .peak_memory_bytes = 2000},
             total);
  EXPECT_TRUE(total.same_result(
      {.nll_sum = 607.0, .scored_tokens = kScored + 9, .blocks = {{107.0, 4104}, {200.0, 4096}, {300.0, 1808}}}));
  EXPECT_EQ(total.seconds, 1.5);
  EXPECT_EQ(total.peak_memory_bytes, 2000);
  EXPECT_DOUBLE_EQ(perplexity(3.0 * std::log(5.0), 3), 5.0);
}

TEST(EvaluationTest, CorrectResultIsAccepted) {
  EXPECT_EQ(why_rejected(good_result(), {.scored_tokens = kScored, .length = kLength}), "");
}

TEST(EvaluationTest, AGradientHasFiniteNumbersAsManyAsExpected) {
  const auto verdict_of = [](std::vector<double> gradient, std::size_t expected) {
    ScoreResult result = good_result();
    result.gradient = std::move(gradient);
    return why_rejected(result, {.scored_tokens = kScored, .length = kLength, .gradient_size = expected});
  };
  EXPECT_EQ(verdict_of({-1.5, 0.0, 2.5}, 3), "");
  EXPECT_THAT(verdict_of({}, 3), HasSubstr("gradient must have 3 numbers: 0"));
  EXPECT_THAT(verdict_of({-1.5, 0.0, 2.5}, 0), HasSubstr("gradient must have 0 numbers: 3"));
  for (const double bad : {kNan, kInfinity, -kInfinity}) {
    EXPECT_THAT(verdict_of({-1.5, bad, 2.5}, 3), HasSubstr("gradient must be finite and at most 1e15: number 1"));
  }
}

TEST(EvaluationTest, OtherGradientsAreOtherResults) {
  ScoreResult result = good_result();
  result.gradient = {1.0, 2.0};
  EXPECT_FALSE(result.same_result(good_result()));
  EXPECT_TRUE(result.same_result(result));
}

TEST(EvaluationTest, BlockNllMayDifferByRoundingOnly) {
  EXPECT_EQ(verdict([](ScoreResult& result) { result.nll_sum *= 1 + 5e-10; }), "");
  EXPECT_THAT(verdict([](ScoreResult& result) { result.nll_sum *= 1 + 5e-9; }), HasSubstr("must add up"));
}

TEST(EvaluationTest, NonFiniteAndNegativeSumsAreRejected) {
  for (const double bad : {kNan, kInfinity, -kInfinity, -1.0}) {
    EXPECT_THAT(verdict([&](ScoreResult& result) { result.nll_sum = bad; }), HasSubstr("nll_sum must be finite"));
    EXPECT_THAT(verdict([&](ScoreResult& result) { result.blocks[1].nll_sum = bad; }), HasSubstr("block 1"));
    EXPECT_THAT(verdict([&](ScoreResult& result) { result.seconds = bad; }), HasSubstr("seconds must be finite"));
  }
}

TEST(EvaluationTest, SumsThatCouldOverflowAreRejected) {
  EXPECT_THAT(verdict([](ScoreResult& result) {
                result.nll_sum = std::numeric_limits<double>::max();
                for (ScoredBlock& block : result.blocks) block.nll_sum = std::numeric_limits<double>::max();
              }),
              HasSubstr("at most 1e15"));
  EXPECT_THAT(verdict([](ScoreResult& result) { result.seconds = 1e16; }), HasSubstr("at most 1e15"));
}

TEST(EvaluationTest, OtherTokenCountThanExpectedIsRejected) {
  EXPECT_EQ(verdict([](ScoreResult& result) { --result.scored_tokens; }), "scored_tokens must be 9999: 9998");
}

TEST(EvaluationTest, TokensOfBlocksMustAddUpExactly) {
  EXPECT_THAT(verdict([](ScoreResult& result) { --result.blocks[0].scored_tokens; }), HasSubstr("must add up to 9999"));
}

TEST(EvaluationTest, BlockCannotScoreMoreTokensThanItHas) {
  EXPECT_THAT(verdict([](ScoreResult& result) {
                result.blocks[0].scored_tokens = 4094;
                result.blocks[2].scored_tokens = 1809;
              }),
              HasSubstr("between 0 and 1808: block 2 has 1809"));
  EXPECT_THAT(verdict([](ScoreResult& result) {
                result.blocks[0].scored_tokens = -1;
                result.blocks[1].scored_tokens = 8192;
              }),
              HasSubstr("block 0 has -1"));
}

TEST(EvaluationTest, LossWhereNothingIsScoredIsRejected) {
  const ScoreResult masked{.nll_sum = 5.0, .scored_tokens = 1, .blocks = {{1.0, 0}, {4.0, 1}}};
  EXPECT_THAT(why_rejected(masked, {.scored_tokens = 1, .length = 8192}), HasSubstr("nothing is scored: block 0"));
}

TEST(EvaluationTest, NumberOfBlocksFollowsTheLength) {
  EXPECT_THAT(verdict([](ScoreResult& result) { result.blocks.emplace_back(); }), HasSubstr("blocks must number 3"));
  EXPECT_THAT(verdict([](ScoreResult& result) { result.blocks.clear(); }), HasSubstr("blocks must number 3"));
  const ScoreResult one_block{.nll_sum = 1.0, .scored_tokens = 4095, .blocks = {{1.0, 4095}}};
  EXPECT_EQ(why_rejected(one_block, {.scored_tokens = 4095, .length = 4096}), "");
  const ScoreResult two_blocks{.nll_sum = 2.0, .scored_tokens = 4096, .blocks = {{1.0, 4095}, {1.0, 1}}};
  EXPECT_EQ(why_rejected(two_blocks, {.scored_tokens = 4096, .length = 4097}), "");
}

TEST(EvaluationTest, NegativeMemoryIsRejected) {
  EXPECT_THAT(verdict([](ScoreResult& result) { result.peak_memory_bytes = -1; }), HasSubstr("peak_memory_bytes"));
}

TEST(EvaluationTest, TimingsAreNotPartOfTheResult) {
  ScoreResult other = good_result();
  other.seconds = 9.0;
  EXPECT_TRUE(good_result().same_result(other));
  other.blocks[0].nll_sum = std::nextafter(100.0, 101.0);
  EXPECT_FALSE(good_result().same_result(other));
}

TEST(EvaluationTest, NamesAreStable) {
  EXPECT_EQ(to_string(EvaluationKind::kScore), "score");
  EXPECT_EQ(to_string(EvaluationKind::kGradient), "gradient");
  EXPECT_EQ(to_string(EvaluationError::kNonFinite), "non_finite");
  EXPECT_EQ(to_string(EvaluationError::kOutOfMemory), "out_of_memory");
  EXPECT_EQ(to_string(EvaluationError::kBadDocument), "bad_document");
  EXPECT_EQ(to_string(EvaluationError::kBadFactors), "bad_factors");
  EXPECT_EQ(to_string(EvaluationError::kInternal), "internal");
}

}  // namespace
}  // namespace longrope

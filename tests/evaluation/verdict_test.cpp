#include "evaluation/verdict.h"

#include "common/error.h"
#include "tests/support/winner_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace longrope {
namespace {

/// The winner against the method `origin`.
Comparison against(const std::string& origin, const WinnerScores& scores = unequal_documents()) {
  const Verdict verdict = judge(scores);
  for (const Comparison& comparison : verdict.comparisons) {
    if (comparison.origin == origin) return comparison;
  }
  ADD_FAILURE() << "not compared with " << origin;
  return {};
}

// Expected numbers by numpy: d = nll_winner − nll_method, m = Σ d / Σ tokens, half width = 3.182446305284263 ·
// sqrt(4 / 3 · Σ (d − m · tokens)²) / Σ tokens.

TEST(VerdictTest, PairedDifferencesHaveTheIntervalThatNumpyComputes) {
  const Comparison untouched = against("none");
  EXPECT_NEAR(untouched.difference.mean, 0.05182760501909438, 1e-14);
  EXPECT_NEAR(*untouched.difference.half_width, 0.018933950951311694, 1e-12);
  EXPECT_NEAR(untouched.relative_change(), 0.05319416147462729, 1e-13);
  EXPECT_NEAR(untouched.perplexity, 24.284850033139595, 1e-11);
  const Comparison yarn = against("yarn");
  EXPECT_NEAR(yarn.difference.mean, -0.09219858156028368, 1e-14);
  EXPECT_NEAR(*yarn.difference.half_width, 0.02255034897592304, 1e-12);
  EXPECT_NEAR(*judge(unequal_documents()).perplexity, 25.576662267189537, 1e-11);
}

TEST(VerdictTest, IntervalThatHoldsZeroCannotTell) {
  EXPECT_EQ(against("none").judgement, Judgement::kWorse);
  EXPECT_EQ(against("yarn").judgement, Judgement::kBetter);
  const Comparison pi = against("pi");
  EXPECT_EQ(pi.judgement, Judgement::kCannotTell);
  EXPECT_NEAR(*pi.difference.half_width, 0.009043580117401234, 1e-12);
}

TEST(VerdictTest, PairsTellWhatTheSpreadOfDocumentsHides) {
  // Documents differ by factors, and each is 1 % worse.
  WinnerScores scores = unequal_documents();
  scores.scores = {{"winner", {{101.0, 100}, {303.0, 100}, {505.0, 100}}},
                   {"none", {{100.0, 100}, {301.9, 100}, {504.1, 100}}}};
  EXPECT_EQ(judge(scores).judgement(), Judgement::kWorse);
  EXPECT_GT(*mean_nll(scores.scores.front().documents).half_width, 4.0) << "unpaired, nothing could be told";
}

TEST(VerdictTest, OneDocumentIsJudgedByTheSignOfItsDifference) {
  WinnerScores scores = unequal_documents();
  scores.scores = {{"winner", {{200.0, 100}}}, {"none", {{199.0, 100}}}, {"yarn", {{201.0, 100}}}};
  const Comparison untouched = against("none", scores);
  EXPECT_FALSE(untouched.difference.half_width);
  EXPECT_EQ(untouched.judgement, Judgement::kWorse);
  EXPECT_EQ(against("yarn", scores).judgement, Judgement::kBetter);
}

TEST(VerdictTest, WinnerWithAMethodsOwnFactorsCannotBeTold) {
  WinnerScores scores = unequal_documents();
  scores.scores = {{"winner", {{200.0, 100}}}, {"none", {{200.0, 100}}}};
  EXPECT_EQ(judge(scores).judgement(), Judgement::kCannotTell);
}

TEST(VerdictTest, BestClosedFormIsNeverTheUntouchedModel) {
  const Verdict verdict = judge(unequal_documents());
  ASSERT_NE(verdict.best_closed_form(), nullptr);
  EXPECT_EQ(verdict.best_closed_form()->origin, "pi") << "untouched is lower";
  WinnerScores alone = unequal_documents();
  alone.scores.resize(2);
  EXPECT_EQ(judge(alone).best_closed_form(), nullptr);
}

TEST(VerdictTest, UntouchedModelThatWasNotScoredLeavesTheJudgementOpen) {
  WinnerScores scores = unequal_documents();
  scores.scores.erase(scores.scores.begin() + 1);
  EXPECT_EQ(judge(scores).untouched(), nullptr);
  EXPECT_EQ(judge(scores).judgement(), Judgement::kCannotTell);
}

TEST(VerdictTest, MethodsScoredOnOtherTokensAreNotCompared) {
  WinnerScores scores = unequal_documents();
  scores.scores[1].documents[2].scored_tokens = 299;
  EXPECT_THROW((void)judge(scores), Error);
  scores.scores[1].documents.pop_back();
  EXPECT_THROW((void)judge(scores), Error);
  scores.scores.erase(scores.scores.begin());
  EXPECT_THROW((void)judge(scores), Error) << "no winner";
}

TEST(VerdictTest, WinnerThatCouldNotBeScoredIsWorse) {
  WinnerScores scores = unequal_documents();
  scores.scores.clear();
  EXPECT_FALSE(judge(scores).perplexity);
  EXPECT_EQ(judge(scores).judgement(), Judgement::kWorse);
}

TEST(VerdictTest, ClosedFormsWithoutTheirAttentionFactorSaySo) {
  EXPECT_EQ(method_title("yarn-m1"), "YaRN with m = 1");
  EXPECT_EQ(method_title("pi"), "PI");
}

TEST(VerdictTest, OriginalLengthIsComparedWhereItWasScored) {
  WinnerScores scores = unequal_documents();
  EXPECT_FALSE(judge(scores).at_original_length);
  scores.original_length = 512;
  scores.at_original_length = {{"winner", {{103.0, 100}}}, {"none", {{100.0, 100}}}};
  const Verdict verdict = judge(scores);
  ASSERT_TRUE(verdict.at_original_length);
  EXPECT_NEAR(verdict.at_original_length->relative_change(), std::exp(0.03) - 1.0, 1e-14);
}

}  // namespace
}  // namespace longrope

#include "evaluation/verdict_text.h"

#include "tests/support/winner_scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace longrope {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// One document for each method, of 1,000 tokens at the given perplexity.
WinnerScores one_document(double winner, double untouched, double yarn) {
  WinnerScores scores = unequal_documents();
  const auto at = [](double perplexity) { return std::vector<DocumentNll>{{1000.0 * std::log(perplexity), 1000}}; };
  scores.scores = {{"winner", at(winner)}, {"none", at(untouched)}, {"yarn", at(yarn)}};
  return scores;
}

/// unequal_documents() whose "none" and "yarn" have changed names: the winner is better than untouched.
WinnerScores won() {
  WinnerScores scores = unequal_documents();
  scores.scores[1].origin = "yarn";
  scores.scores[2].origin = "none";
  scores.scores.pop_back();
  return scores;
}

TEST(VerdictTextTest, LostSearchSaysDoNotExport) {
  const Verdict verdict = judge(unequal_documents());
  EXPECT_EQ(verdict_headline(verdict), "searched is 5.3 % worse than untouched (± 2 %): do not export");
  EXPECT_THAT(verdict_sentences(verdict),
              ElementsAre("searched is 5.3 % worse than untouched (± 2 %): do not export",
                          "25.58 at 32,768 tokens: not to be told apart from PI (0.11 % worse, ± 0.91 %)",
                          "chosen and judged by the same 4 held-out documents, which flatters it (final_documents "
                          "judge by others)"));
}

TEST(VerdictTextTest, WonSearchNamesTheBestClosedFormAndUntouched) {
  WinnerScores scores = won();
  scores.scores[1].origin = "none";
  scores.scores[2].origin = "yarn";
  for (DocumentNll& document : scores.scores[1].documents) document.nll_sum *= 2.0;
  EXPECT_EQ(verdict_headline(judge(scores)),
            "25.58 at 32,768 tokens: 8.8 % better than YaRN (± 2.1 %), 23 times better than untouched");
  EXPECT_EQ(verdict_headline(judge(one_document(2.464, 61.6, 2.548))),
            "2.464 at 32,768 tokens: 3.3 % better than YaRN, 25 times better than untouched");
}

TEST(VerdictTextTest, FinalDocumentsJudgeAloneAndOneDocumentHasNoInterval) {
  WinnerScores scores = won();
  scores.final_documents = true;
  EXPECT_THAT(verdict_sentences(judge(scores)), Contains("judged by 4 final documents, which chose nothing"));
  scores = one_document(2.0, 3.0, 2.5);
  EXPECT_THAT(verdict_sentences(judge(scores)), Contains(HasSubstr("the same 1 held-out document,")));
  EXPECT_THAT(verdict_sentences(judge(scores)), Contains(HasSubstr("; one document: no interval")));
  scores.finalists = 1;
  EXPECT_THAT(verdict_sentences(judge(scores)),
              Contains("judged by 1 held-out document, which chose nothing: there was one finalist; one document: no "
                       "interval"));
}

TEST(VerdictTextTest, CostAtTheOriginalLengthNamesTheAttentionFactor) {
  WinnerScores scores = won();
  scores.original_length = 512;
  const double worse = 1000.0 * std::log(1.027);
  scores.at_original_length = {{"winner", {{3000.0 + worse, 1000}}}, {"none", {{3000.0, 1000}}}};
  EXPECT_THAT(verdict_sentences(judge(scores)),
              Contains("at the original length of 512 tokens the exported model is 2.7 % worse: attention factor 1.19 "
                       "applies there too"));
  scores.attention_factor = 1.0;
  scores.at_original_length[0] = {"winner", {{3000.0, 1000}}};
  EXPECT_THAT(verdict_sentences(judge(scores)),
              Contains("at the original length of 512 tokens the exported model is no different from untouched"));
}

TEST(VerdictTextTest, WinnerWithTheCheckpointsAttentionFactorCostsNothingAtTheOriginalLength) {
  WinnerScores scores = won();
  scores.keeps_attention_factor = true;
  EXPECT_EQ(verdict_sentences(judge(scores)).back(),
            "at the original length nothing changes: the attention factor is the checkpoint's own");
}

TEST(VerdictTextTest, WinnerThatCouldNotBeScoredIsNotToBeExported) {
  WinnerScores scores = unequal_documents();
  scores.scores.clear();
  EXPECT_THAT(verdict_sentences(judge(scores)),
              ElementsAre("searched could not be scored on the documents that judge it: do not export"));
  EXPECT_TRUE(verdict_json(judge(scores))["perplexity"].is_null());
}

TEST(VerdictTextTest, WarningNamesTheClosedFormThatIsBetter) {
  EXPECT_THAT(verdict_warnings(judge(won())),
              ElementsAre("the winner is 5.3 % worse than YaRN (± 2 %), a closed form that needs no search"));
  EXPECT_THAT(verdict_warnings(judge(one_document(2.0, 3.0, 2.5))), IsEmpty());
}

TEST(VerdictTextTest, WinnerThatOnlyLooksWorseThanUntouchedIsAWarning) {
  WinnerScores scores = unequal_documents();
  scores.scores = {scores.scores[0], scores.scores[3]};
  scores.scores[1].origin = "none";
  EXPECT_THAT(verdict_warnings(judge(scores)),
              ElementsAre("the winner is not to be told apart from untouched (0.11 % worse, ± 0.91 %)"));
}

TEST(VerdictTextTest, JsonHasTheNumbersOfTheText) {
  const nlohmann::ordered_json json = verdict_json(judge(unequal_documents()));
  EXPECT_EQ(json["judgement"], "worse");
  EXPECT_EQ(json["documents"], 4);
  EXPECT_EQ(json["final_documents"], false);
  EXPECT_EQ(json["best_closed_form"], "pi");
  EXPECT_EQ(json["text"][0], "searched is 5.3 % worse than untouched (± 2 %): do not export");
  const auto& untouched = json["comparisons"][0];
  EXPECT_EQ(untouched["method"], "none");
  EXPECT_NEAR(untouched["relative_change_interval"][0].get<double>(), 0.03344063118995682, 1e-12);
  EXPECT_NEAR(untouched["relative_change_interval"][1].get<double>(), 0.0733252673518677, 1e-12);
  EXPECT_TRUE(json["original_length"].is_null());
}

}  // namespace
}  // namespace longrope

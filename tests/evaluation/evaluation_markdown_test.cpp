#include "evaluation/evaluation_markdown.h"

#include "tests/support/evaluation_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(EvaluationMarkdownTest, PerplexityIsByLengthAndMethod) {
  EXPECT_THAT(to_markdown(sample_evaluation()), HasSubstr("\n## Perplexity\n\n"
                                                          "One pass over the first tokens of each document.\n\n"
                                                          "| tokens | base | a\\|b |\n"
                                                          "| --- | --- | --- |\n"
                                                          "| 512 | 2.000* | 4.000 |\n"
                                                          "| 5000 | 2.267 | 2.267 |\n"));
}

TEST(EvaluationMarkdownTest, SlidingWindowsHaveBothAverages) {
  const std::string text = to_markdown(sample_evaluation());
  EXPECT_THAT(text, HasSubstr("## Perplexity in windows of 256 tokens, 128 apart"));
  EXPECT_THAT(text,
              HasSubstr("(`ppl_token`):\n\n| tokens | base | a\\|b |\n| --- | --- | --- |\n| 512 | 4.000 | 4.000 |"));
  EXPECT_THAT(text,
              HasSubstr("(`ppl_yarn`):\n\n| tokens | base | a\\|b |\n| --- | --- | --- |\n| 512 | 16.00 | 16.00 |"));
}

TEST(EvaluationMarkdownTest, PositionsAreShownWhereThereAreSeveralBlocks) {
  const std::string text = to_markdown(sample_evaluation());
  EXPECT_THAT(text, HasSubstr("## Perplexity by position, 5000 tokens\n\n"
                              "| positions | base | a\\|b |\n"
                              "| --- | --- | --- |\n"
                              "| 0–4095 | 2.000 | 2.000 |\n"
                              "| 4096–4999 | 4.000 | 4.000 |\n"));
  EXPECT_THAT(text, Not(HasSubstr("by position, 512 tokens")));
}

TEST(EvaluationMarkdownTest, EachMethodHasAGridOfAccuracyByLengthAndDepth) {
  const std::string text = to_markdown(sample_evaluation());
  const std::string grid =
      "\n\n| tokens | depth 0 | depth 0.25 |\n"
      "| --- | --- | --- |\n"
      "| 512 | 9/10 [0.555, 0.997] | 0/7 [0.000, 0.410] |\n"
      "| 1024 |  | 7/7 [0.590, 1.000] |\n";
  EXPECT_THAT(text, HasSubstr("## Pass keys"));
  EXPECT_THAT(text, HasSubstr("### base" + grid));
  EXPECT_THAT(text, HasSubstr("### a\\|b" + grid));
  EXPECT_THAT(text, Not(HasSubstr("## Needles")));
}

TEST(EvaluationMarkdownTest, HeadSaysWhatWasMeasuredAndUnderWhat) {
  const std::string text = to_markdown(sample_evaluation());
  EXPECT_THAT(text, HasSubstr("# Evaluation of tiny\n"));
  EXPECT_THAT(text, HasSubstr("- Model: trained at 512 tokens, reaches 1024; digest aa\n"));
  EXPECT_THAT(text, HasSubstr("- Documents: 2 of books.safetensors, digest bb\n"));
  EXPECT_THAT(text, HasSubstr("- Pass keys: 8 of keys.safetensors, digest cc\n"));
  EXPECT_THAT(text, HasSubstr("- Factors a\\|b: a\\|b.json\n"));
  EXPECT_THAT(text, HasSubstr("- Computed in fp32 with fp64 angles: a machine\n"));
}

TEST(EvaluationMarkdownTest, LargePerplexitiesHaveNoExponent) {
  EvaluationReport report = sample_evaluation();
  report.perplexity[0].nll_sum *= 17.5;
  EXPECT_THAT(to_markdown(report), HasSubstr("| 512 | 185364 | 4.000* |"));
}

TEST(EvaluationMarkdownTest, BestMethodIsMarkedWhereMethodsDiffer) {
  EvaluationReport report = sample_evaluation();
  EXPECT_THAT(to_markdown(report), HasSubstr("- Marked `*`: the lowest perplexity of its row\n"));
  EXPECT_THAT(to_markdown(report), HasSubstr("| 5000 | 2.267 | 2.267 |")) << "nothing to choose";
  for (RetrievalResult& result : report.retrieval) {
    if (result.method == "base" && result.length == 512 && result.depth == 0.0) result.right = 8;
  }
  EXPECT_THAT(to_markdown(report), HasSubstr("| 512 | 9/10 [0.555, 0.997]* | 0/7 [0.000, 0.410] |"));
  EXPECT_THAT(to_markdown(report), HasSubstr("| 512 | 8/10 [0.555, 0.997] | 0/7 [0.000, 0.410] |"));
  report.methods.pop_back();
  EXPECT_THAT(to_markdown(report), Not(HasSubstr("Marked")));
}

}  // namespace
}  // namespace longrope

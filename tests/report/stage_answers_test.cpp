#include "report/stage_answers.h"

#include <gtest/gtest.h>

namespace longrope {
namespace {

ComparedPerplexities compared(double searched, std::optional<double> none, std::optional<double> pi,
                              std::optional<double> ntk, std::optional<double> yarn) {
  return {searched, {.none = none, .pi = pi, .ntk = ntk, .yarn = yarn}};
}

TEST(StageAnswersTest, WinnerIsComparedWithTheBestClosedFormAndTheUntouchedModel) {
  EXPECT_EQ(comparison_text(compared(2.4641, 61.9586, 64.9, 13.75, 2.549), 32768, ""),
            "2.464 at 32,768 tokens: 3.3 % better than YaRN, 25 times better than untouched");
  EXPECT_EQ(comparison_text(compared(2.5, 5.5, 2.0, 3.0, 9.0), 4096, ""),
            "2.500 at 4,096 tokens: 25.0 % worse than PI, 2.2 times better than untouched");
}

TEST(StageAnswersTest, SearchThatLostSaysSo) {
  EXPECT_EQ(comparison_text(compared(27.38, 26.94, 90.0, 40.0, 26.94), 512, ""),
            "27.38 at 512 tokens: 1.6 % worse than untouched");
  EXPECT_EQ(comparison_text(compared(60.0, 20.0, {}, {}, {}), 512, ""),
            "60.00 at 512 tokens: 3.0 times worse than untouched");
}

TEST(StageAnswersTest, DifferenceThatIsNotShownIsNone) {
  EXPECT_EQ(comparison_text(compared(3021.4, 3021.0, {}, {}, {}), 512, ""), "3021 at 512 tokens: as good as untouched");
}

TEST(StageAnswersTest, WhatWasNotMeasuredIsNotCompared) {
  EXPECT_EQ(comparison_text({}, 1048576, ""), "nothing measured at 1,048,576 tokens yet");
  EXPECT_EQ(comparison_text(compared(2.5, {}, {}, {}, {}), 512, " on the search documents so far"),
            "2.500 at 512 tokens on the search documents so far");
}

}  // namespace
}  // namespace longrope

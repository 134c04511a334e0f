#include "pipeline/shared_text.h"

#include "tests/support/prepared_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace longrope {
namespace {

constexpr std::int32_t kBeginning = 256;
constexpr std::int32_t kEnd = 257;

/// Between BOS and EOS the tokens [from, to) of a text.
Document piece_of(const Document& text, std::ptrdiff_t from, std::ptrdiff_t to, bool ends = false) {
  Document piece;
  piece.name = "piece";
  piece.tokens = {kBeginning};
  piece.tokens.insert(piece.tokens.end(), text.tokens.begin() + from, text.tokens.begin() + to);
  if (ends) piece.tokens.push_back(kEnd);
  return piece;
}

class SharedTextTest : public testing::Test {
 protected:
  Document text_ = document_of("text", 1, 4000);
  SharedText shared_;
};

TEST_F(SharedTextTest, TextIsFoundHoweverItWasCut) {
  shared_.add_judge(piece_of(text_, 1003, 3001), "held out");
  EXPECT_FALSE(shared_.worst());
  for (std::ptrdiff_t from = 0; from < 4000; from += 500) {
    shared_.add_trained(piece_of(text_, from, from + 500, /*ends=*/true), "piece " + std::to_string(from));
  }
  const auto finding = shared_.worst();
  ASSERT_TRUE(finding);
  EXPECT_EQ(finding->judge, "held out");
  EXPECT_EQ(finding->trained, "piece 1000");
  EXPECT_EQ(finding->ngrams, 39U);
  EXPECT_GE(finding->shared, 39U - 1 - 4) << "the first has BOS, and one may be cut at each of four ends";
}

TEST_F(SharedTextTest, LessThanHalfIsAQuotation) {
  shared_.add_judge(piece_of(text_, 0, 2000), "held out");
  shared_.add_trained(piece_of(text_, 1100, 2000), "quotation");
  EXPECT_FALSE(shared_.worst());
  shared_.add_trained(piece_of(text_, 800, 1150), "another");
  EXPECT_TRUE(shared_.worst());
}

TEST_F(SharedTextTest, OtherTextIsNotFound) {
  shared_.add_judge(text_, "held out");
  shared_.add_trained(document_of("other", 2, 4000), "other");
  EXPECT_FALSE(shared_.worst());
}

TEST_F(SharedTextTest, WhatIsTrainedOnTwiceCountsOnce) {
  shared_.add_judge(piece_of(text_, 0, 2000), "held out");
  for (int time = 0; time < 3; ++time) shared_.add_trained(piece_of(text_, 0, 600), "part");
  EXPECT_FALSE(shared_.worst());
}

TEST_F(SharedTextTest, JudgesThatShareTextAreBothFound) {
  shared_.add_judge(piece_of(text_, 0, 1000), "first");
  shared_.add_judge(piece_of(text_, 0, 500), "second");
  shared_.add_trained(piece_of(text_, 0, 499), "part");
  ASSERT_TRUE(shared_.worst());
  EXPECT_EQ(shared_.worst()->judge, "second") << "a larger share of it";
}

TEST_F(SharedTextTest, DocumentShorterThanAnNgramIsNotCompared) {
  const Document tiny = document_of("tiny", 1, SharedText::kNgramTokens - 1);
  shared_.add_judge(tiny, "tiny");
  shared_.add_trained(tiny, "tiny");
  EXPECT_FALSE(shared_.worst());
}

}  // namespace
}  // namespace longrope

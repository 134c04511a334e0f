#include "worker/work_refusal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace longrope {
namespace {

using ::testing::HasSubstr;

class WorkRefusalTest : public testing::Test {
 protected:
  WorkRefusalTest() {
    model_.vocabulary = 100;
    model_.geometry = {.rotary_dim = 4, .rope_theta = 1e4, .original_length = 32};
    document_.name = "document";
    document_.tokens = {1, 2, 3, 99};
  }
  void expect_refused(EvaluationError error, const std::string& detail) const {
    const auto failure = why_refused(work_, document_, model_);
    ASSERT_TRUE(failure) << detail;
    EXPECT_EQ(failure->error, error) << failure->detail;
    EXPECT_THAT(failure->detail, HasSubstr(detail));
  }

  ModelDescription model_;
  Document document_;
  Work work_{.lease = {1, 1},
             .kind = 0,
             .lambda = {1.0, 2.0},
             .n_hat = 0,
             .attention_factor = 1.0,
             .document_digest = "digest",
             .length = 4};
};

TEST_F(WorkRefusalTest, WorkThatFitsIsNotRefused) { EXPECT_FALSE(why_refused(work_, document_, model_)); }

TEST_F(WorkRefusalTest, DocumentThatIsTooShortIsABadDocument) {
  work_.length = 5;
  expect_refused(EvaluationError::kBadDocument, "a document must hold at least 5 tokens: 4");
  work_.length = 1;
  expect_refused(EvaluationError::kBadDocument, "a length must be at least 2 tokens to score one: 1");
}

TEST_F(WorkRefusalTest, TokenOutsideTheVocabularyIsABadDocument) {
  document_.tokens[3] = 100;
  expect_refused(EvaluationError::kBadDocument, "tokens must be below the vocabulary of 100: token 3 is 100");
  work_.length = 3;  // it is no longer among the tokens that are scored
  EXPECT_FALSE(why_refused(work_, document_, model_));
}

TEST_F(WorkRefusalTest, MaskThatCountsNothingIsABadDocument) {
  document_.scored = {1, 0, 0, 0};  // the first token has nothing before it
  expect_refused(EvaluationError::kBadDocument, "a mask must count at least one of the first 4 tokens");
}

TEST_F(WorkRefusalTest, FactorsThatDoNotFitTheModelAreBadFactors) {
  work_.lambda = {1.0};
  expect_refused(EvaluationError::kBadFactors, "lambda must number 2: 1 (work message)");
  work_.lambda = {1.0, std::numeric_limits<double>::quiet_NaN()};
  expect_refused(EvaluationError::kBadFactors, "lambda must be finite: pair 1 is nan (work message)");
  work_.lambda = {1.0, 2.0};
  work_.attention_factor = 0.0;
  expect_refused(EvaluationError::kBadFactors, "attention factor must be finite and positive: 0 (work message)");
}

TEST_F(WorkRefusalTest, UnknownKindIsReportedAsBadFactors) {
  work_.kind = 2;
  expect_refused(EvaluationError::kBadFactors, "evaluation kind must be 0 (score) or 1 (gradient): 2 (work message)");
}

TEST_F(WorkRefusalTest, GradientIsRefusedForWhatAScoreIsRefusedFor) {
  work_.kind = 1;
  EXPECT_TRUE(is_gradient(work_));
  EXPECT_FALSE(why_refused(work_, document_, model_));
  work_.lambda = {1.0};
  expect_refused(EvaluationError::kBadFactors, "lambda must number 2: 1 (work message)");
  work_.lambda = {1.0, 2.0};
  work_.length = 5;
  expect_refused(EvaluationError::kBadDocument, "a document must hold at least 5 tokens: 4");
}

}  // namespace
}  // namespace longrope

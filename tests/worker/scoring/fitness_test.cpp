#include "worker/scoring/fitness.h"

#include "common/error.h"
#include "tests/worker/reference_transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kVocabulary = 61;

Fitness sliding(std::int64_t window, std::int64_t stride) {
  return {.kind = FitnessKind::kSliding, .window = window, .stride = stride};
}

std::string refusal(const Fitness& fitness, const Document& document, std::int64_t length) {
  try {
    require_measurable(fitness, document, length, kVocabulary);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(FitnessTest, NamesAreReadBack) {
  for (const FitnessKind kind : {FitnessKind::kPerplexity, FitnessKind::kSliding, FitnessKind::kAccuracy}) {
    EXPECT_EQ(parse_fitness_kind(to_string(kind)), kind);
  }
  EXPECT_THROW((void)parse_fitness_kind("ppl"), InputError);
}

TEST(FitnessTest, OnePassCoversTheLength) {
  EXPECT_THAT(passes({}, 30), ElementsAre(Pass{0, 30, 1}));
  EXPECT_THAT(passes({.kind = FitnessKind::kAccuracy}, 30), ElementsAre(Pass{0, 30, 1}));
}

TEST(FitnessTest, WindowsFollowTheStrideAndTheLastIsCut) {
  EXPECT_THAT(passes(sliding(10, 4), 21),
              ElementsAre(Pass{0, 10, 1}, Pass{4, 14, 10}, Pass{8, 18, 14}, Pass{12, 21, 18}));
  EXPECT_THAT(passes(sliding(10, 9), 19), ElementsAre(Pass{0, 10, 1}, Pass{9, 19, 10}));
  EXPECT_THAT(passes(sliding(10, 4), 10), ElementsAre(Pass{0, 10, 1}));
}

TEST(FitnessTest, EveryPositionIsScoredOnceAndHasAPredecessorInItsWindow) {
  for (std::int64_t length = 2; length < 25; ++length) {
    for (std::int64_t window = 2; window <= length; ++window) {
      for (std::int64_t stride = 1; stride < window; ++stride) {
        std::int64_t next = 1;
        for (const Pass& pass : passes(sliding(window, stride), length)) {
          EXPECT_EQ(pass.first_scored, next);
          EXPECT_GT(pass.first_scored, pass.begin);
          EXPECT_LE(pass.end - pass.begin, window);
          next = pass.end;
        }
        EXPECT_EQ(next, length);
      }
    }
  }
}

TEST(FitnessTest, AnAnswerIsARunOfConsecutivePositions) {
  const std::vector<std::int64_t> positions = {3, 4, 5, 9, 11, 12};
  FitnessResult result;
  count_answers(positions, std::vector<std::uint8_t>{1, 1, 1, 0, 1, 1}, result);
  EXPECT_EQ(result.answers, 3);
  EXPECT_EQ(result.right_answers, 2);
  result = {};
  count_answers(positions, std::vector<std::uint8_t>{0, 1, 1, 1, 1, 0}, result);
  EXPECT_EQ(result.answers, 3);
  EXPECT_EQ(result.right_answers, 1);
}

TEST(FitnessTest, WindowsAndStridesThatDoNotFitAreRefused) {
  const Document document = random_document(40, kVocabulary, 1);
  EXPECT_EQ(refusal(sliding(40, 39), document, 40), "accepted");
  EXPECT_THAT(refusal(sliding(41, 1), document, 40), HasSubstr("length of 40: 41"));
  EXPECT_THAT(refusal(sliding(1, 1), document, 40), HasSubstr("from 2 tokens to the length of 40: 1"));
  EXPECT_THAT(refusal(sliding(20, 0), document, 40), HasSubstr("stride must be from 1 to 19, below the window: 0"));
  EXPECT_THAT(refusal(sliding(20, 20), document, 40), HasSubstr("stride must be from 1 to 19, below the window: 20"));
  EXPECT_THAT(refusal(sliding(20, -1), document, 40), HasSubstr(": -1"));
}

TEST(FitnessTest, AccuracyNeedsAMaskOfWholeAnswers) {
  const Fitness accuracy = {.kind = FitnessKind::kAccuracy};
  Document document = random_document(40, kVocabulary, 1);
  EXPECT_THAT(refusal(accuracy, document, 40), HasSubstr("accuracy needs a mask of the answers: document random"));
  document.scored.assign(40, 0);
  for (const std::size_t position : {18U, 19U, 20U, 39U}) document.scored[position] = 1;
  EXPECT_EQ(refusal(accuracy, document, 40), "accepted");
  EXPECT_EQ(refusal(accuracy, document, 21), "accepted");
  EXPECT_THAT(refusal(accuracy, document, 20), HasSubstr("an answer must end within the first 20 tokens"));
  EXPECT_THAT(refusal(accuracy, document, 18), HasSubstr("at least one of the first 18 tokens"));
}

}  // namespace
}  // namespace longrope

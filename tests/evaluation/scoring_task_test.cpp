#include "evaluation/scoring_task.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;

class ScoringTaskTest : public testing::Test {
 protected:
  [[nodiscard]] ScoringTask task(std::int64_t length) const {
    return {.factors = factors_, .names = names_, .fitness = {}, .document = &document_, .length = length};
  }

  Document document_{.name = "book", .tokens = std::vector<std::int32_t>(8, 1), .scored = {}};
  std::vector<RescaleFactors> factors_ = std::vector<RescaleFactors>(2);
  std::vector<std::string> names_ = {"pi", "yarn"};
};

TEST_F(ScoringTaskTest, ResultsComeInTheOrderOfTheTasks) {
  const std::vector<ScoringTask> tasks = {task(2), task(4)};
  const std::vector<TaskResults> results = measure_tasks(tasks, [](const ScoringTask& task) {
    TaskResults measured(task.factors.size());
    for (FitnessResult& result : measured) result.score.scored_tokens = task.length - 1;
    return measured;
  });
  ASSERT_EQ(results.size(), 2U);
  ASSERT_EQ(results[1].size(), 2U);
  EXPECT_EQ(results[0][1].score.scored_tokens, 1);
  EXPECT_EQ(results[1][0].score.scored_tokens, 3);
}

TEST_F(ScoringTaskTest, TheFirstNllThatIsNotFiniteEndsTheMeasuring) {
  const std::vector<ScoringTask> tasks = {task(2), task(4), task(8)};
  std::vector<std::int64_t> measured;
  try {
    (void)measure_tasks(tasks, [&](const ScoringTask& task) {
      measured.push_back(task.length);
      TaskResults results(2);
      if (task.length == 4) results[1].score.nll_sum = std::numeric_limits<double>::quiet_NaN();
      return results;
    });
    FAIL() << "no error was thrown";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("document book at 4 tokens under factors yarn"));
  }
  EXPECT_THAT(measured, testing::ElementsAre(2, 4));
}

TEST_F(ScoringTaskTest, TheModelSeesNoMoreThanAWindow) {
  EXPECT_EQ(longest_context({.kind = FitnessKind::kPerplexity}, 4096), 4096);
  EXPECT_EQ(longest_context({.kind = FitnessKind::kAccuracy}, 4096), 4096);
  EXPECT_EQ(longest_context({.kind = FitnessKind::kSliding, .window = 512, .stride = 256}, 4096), 512);
}

TEST_F(ScoringTaskTest, DocumentsThatCannotBeMeasuredAreRefusedWithTheirFile) {
  const std::vector<Document> documents = {document_};
  require_measurable({}, documents, "books.safetensors", 8, 16);
  EXPECT_THAT(refusal([&] { require_measurable({}, documents, "books.safetensors", 9, 16); }),
              testing::AllOf(HasSubstr("book"), HasSubstr("(books.safetensors)")));
}

}  // namespace
}  // namespace longrope

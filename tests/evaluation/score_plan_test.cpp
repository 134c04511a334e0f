#include "evaluation/score_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

namespace longrope {
namespace {

using testing::ElementsAre;

RescaleFactors factors(double attention) {
  RescaleFactors result;
  result.attention.value = attention;
  return result;
}

/// Two documents at two lengths under two factor sets.
ScorePlan plan() {
  ScorePlan plan;
  plan.names = {"none", "yarn"};
  plan.lengths = {4096, 512};
  plan.factors = {{factors(1.0), factors(1.25)}, {factors(1.0), factors(1.125)}};
  plan.documents = {{.name = "a", .tokens = {}, .scored = {}}, {.name = "b", .tokens = {}, .scored = {}}};
  return plan;
}

TEST(ScorePlanTest, FactorSetsOfADocumentAreMeasuredTogether) {
  const ScorePlan scored = plan();
  std::vector<std::tuple<std::string, std::int64_t, double>> tasks;
  for (const ScoringTask& task : scoring_tasks(scored)) {
    ASSERT_EQ(task.factors.size(), 2U);
    tasks.emplace_back(task.document->name, task.length, task.factors[1].attention.value);
  }
  EXPECT_THAT(tasks, ElementsAre(std::tuple("a", 4096, 1.25), std::tuple("b", 4096, 1.25), std::tuple("a", 512, 1.125),
                                 std::tuple("b", 512, 1.125)));
}

TEST(ScorePlanTest, ResultsAreReportedByFactorSetLengthAndDocument) {
  const ScorePlan scored = plan();
  std::int64_t number = 0;
  const std::vector<TaskResults> results = measure_tasks(scoring_tasks(scored), [&](const ScoringTask&) {
    TaskResults measured(2);
    for (FitnessResult& result : measured) result.score.scored_tokens = number++;
    return measured;
  });
  std::vector<std::tuple<std::string, std::int64_t, double, std::string, std::int64_t>> rows;
  for (const ScoredFactors& set : scored_factors(scored, results)) {
    for (const ScoredLength& length : set.lengths) {
      for (const ScoredDocument& document : length.documents) {
        rows.emplace_back(set.name, length.length, length.attention_factor, document.name,
                          document.result.score.scored_tokens);
      }
    }
  }
  EXPECT_THAT(rows, ElementsAre(std::tuple("none", 4096, 1.0, "a", 0), std::tuple("none", 4096, 1.0, "b", 2),
                                std::tuple("none", 512, 1.0, "a", 4), std::tuple("none", 512, 1.0, "b", 6),
                                std::tuple("yarn", 4096, 1.25, "a", 1), std::tuple("yarn", 4096, 1.25, "b", 3),
                                std::tuple("yarn", 512, 1.125, "a", 5), std::tuple("yarn", 512, 1.125, "b", 7)));
}

}  // namespace
}  // namespace longrope

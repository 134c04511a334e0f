#include "evaluation/evaluation.h"

#include "evaluation/evaluation_json.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::int64_t kOriginal = 512;

ModelDescription plain_model() {
  ModelDescription model;
  model.geometry = {.rotary_dim = 8, .rope_theta = 1e4, .original_length = kOriginal};
  const RescaleFactors ones = exact_factors({1.0, 1.0, 1.0, 1.0}, 0, {});
  model.scaling = {.type = "default", .up_to_original = ones, .beyond_original = ones, .reached_length = kOriginal};
  return model;
}

Document document(const std::string& name, std::int64_t tokens) {
  return {.name = name, .tokens = std::vector<std::int32_t>(static_cast<std::size_t>(tokens), 1), .scored = {}};
}

RetrievalDocument hidden(RetrievalKind kind, double depth, std::int64_t tokens) {
  return {.kind = kind, .depth = depth, .document = document("hidden", tokens)};
}

/// The base model and PI, at the original length and at 2,048 tokens, on two documents.
EvaluationPlan plan() {
  return {.methods = {{.name = "base", .file = {}}, {.name = "pi", .file = {}}},
          .lengths = {kOriginal, 2048},
          .sliding = std::nullopt,
          .documents = {document("a", 2048), document("b", 2048)},
          .retrieval = {}};
}

/// A measurement whose mean NLL depends on the factors, the document and the length, so that none can be taken for
/// another.
FitnessResult fake_result(const RescaleFactors& factors, const ScoringTask& task) {
  FitnessResult result;
  result.score.scored_tokens = task.length - 1;
  const double mean = factors.lambda.back() + (task.document->name == "a" ? 0.25 : 0.5);
  result.score.nll_sum = mean * static_cast<double>(result.score.scored_tokens);
  result.score.blocks = {{result.score.nll_sum, result.score.scored_tokens}};
  result.score.seconds = 1.0;
  result.windows = task.fitness.kind == FitnessKind::kSliding ? 4 : 1;
  result.window_means = mean * static_cast<double>(result.windows);
  if (task.fitness.kind == FitnessKind::kAccuracy) {
    result.answers = 1;
    result.right_answers = factors.lambda.back() > 1.0 ? 1 : 0;
  }
  return result;
}

TaskResults fake_results(const ScoringTask& task) {
  TaskResults results;
  for (const RescaleFactors& factors : task.factors) results.push_back(fake_result(factors, task));
  return results;
}

EvaluationReport report_of(EvaluationPlan plan) {
  const Evaluation evaluation(std::move(plan), plain_model());
  EvaluationReport report;
  evaluation.fill(report, measure_tasks(evaluation.tasks(), fake_results));
  return report;
}

TEST(EvaluationTest, MethodsWithEqualFactorsAreMeasuredOnce) {
  const Evaluation evaluation(plan(), plain_model());
  std::vector<std::tuple<std::string, std::int64_t, std::vector<std::string>>> tasks;
  for (const ScoringTask& task : evaluation.tasks()) {
    EXPECT_EQ(task.factors.size(), task.names.size());
    tasks.emplace_back(task.document->name, task.length,
                       std::vector<std::string>(task.names.begin(), task.names.end()));
  }
  // Up to its original length PI is the model as it is.
  EXPECT_THAT(tasks, ElementsAre(std::tuple("a", 512, std::vector<std::string>{"base"}),
                                 std::tuple("b", 512, std::vector<std::string>{"base"}),
                                 std::tuple("a", 2048, std::vector<std::string>{"base", "pi"}),
                                 std::tuple("b", 2048, std::vector<std::string>{"base", "pi"})));
}

TEST(EvaluationTest, EveryMethodHasAResultAtEveryLength) {
  const EvaluationReport report = report_of(plan());
  std::vector<std::tuple<std::string, std::int64_t, double>> rows;
  for (const PerplexityResult& row : report.perplexity) {
    EXPECT_FALSE(row.sliding);
    rows.emplace_back(row.method, row.length, std::round(1e6 * std::log(row.perplexity())) / 1e6);
  }
  // Documents are 0.25 and 0.5 above the factor, which PI makes 2048 / 512 = 4.
  EXPECT_THAT(rows, ElementsAre(std::tuple("base", 512, 1.375), std::tuple("base", 2048, 1.375),
                                std::tuple("pi", 512, 1.375), std::tuple("pi", 2048, 4.375)));
  const PerplexityResult& pi = report.perplexity[3];
  EXPECT_EQ(pi.scored_tokens, 2 * 2047);
  EXPECT_EQ(pi.nll_sum, 4.25 * 2047.0 + 4.5 * 2047.0);
  EXPECT_THAT(pi.blocks, ElementsAre(ScoredBlock{pi.nll_sum, pi.scored_tokens}));
  EXPECT_THAT(pi.documents,
              ElementsAre(EvaluatedDocument{"a", 4.25 * 2047.0, 2047}, EvaluatedDocument{"b", 4.5 * 2047.0, 2047}));
}

TEST(EvaluationTest, MethodsHaveTheirFactorsForEveryContext) {
  EvaluationPlan with_retrieval = plan();
  with_retrieval.retrieval = {hidden(RetrievalKind::kPasskey, 0.5, 600)};
  const EvaluationReport report = report_of(std::move(with_retrieval));
  ASSERT_EQ(report.methods.size(), 2U);
  std::vector<std::int64_t> contexts;
  for (const MethodFactors& factors : report.methods[1].factors) contexts.push_back(factors.length);
  EXPECT_THAT(contexts, ElementsAre(512, 600, 2048));
  EXPECT_EQ(report.methods[0].factors[0].digest, report.methods[1].factors[0].digest);
  EXPECT_NE(report.methods[0].factors[2].digest, report.methods[1].factors[2].digest);
}

TEST(EvaluationTest, SlidingWindowsFollowAtTheLengthsThatHoldOne) {
  EvaluationPlan with_windows = plan();
  with_windows.sliding = Fitness{.kind = FitnessKind::kSliding, .window = 1024, .stride = 256};
  const EvaluationReport report = report_of(std::move(with_windows));
  ASSERT_EQ(report.perplexity.size(), 6U);
  const PerplexityResult& pi = report.perplexity[5];
  EXPECT_EQ(pi.method, "pi");
  EXPECT_EQ(pi.length, 2048);
  ASSERT_TRUE(pi.sliding);
  EXPECT_EQ(pi.sliding->window, 1024);
  EXPECT_EQ(pi.sliding->stride, 256);
  EXPECT_EQ(pi.sliding->windows, 8);
  // The factors are those of the window, 1024 / 512.
  EXPECT_NEAR(std::log(pi.sliding->ppl_yarn), 2.375, 1e-12);
  EXPECT_NEAR(std::log(pi.perplexity()), 2.375, 1e-12);
}

TEST(EvaluationTest, AnswersAddUpByKindMethodLengthAndDepth) {
  EvaluationPlan with_retrieval = plan();
  with_retrieval.retrieval = {hidden(RetrievalKind::kNeedle, 0.5, 512), hidden(RetrievalKind::kPasskey, 1.0, 1024),
                              hidden(RetrievalKind::kPasskey, 0.0, 1024), hidden(RetrievalKind::kPasskey, 1.0, 1024)};
  const EvaluationReport report = report_of(std::move(with_retrieval));
  const auto cell = [](RetrievalKind kind, const char* method, std::int64_t length, double depth, std::int64_t right,
                       std::int64_t answers) {
    return RetrievalResult{kind, method, length, depth, right, answers, binomial_interval(right, answers)};
  };
  EXPECT_THAT(report.retrieval, ElementsAre(cell(RetrievalKind::kPasskey, "base", 1024, 0.0, 0, 1),
                                            cell(RetrievalKind::kPasskey, "base", 1024, 1.0, 0, 2),
                                            cell(RetrievalKind::kPasskey, "pi", 1024, 0.0, 1, 1),
                                            cell(RetrievalKind::kPasskey, "pi", 1024, 1.0, 2, 2),
                                            cell(RetrievalKind::kNeedle, "base", 512, 0.5, 0, 1),
                                            cell(RetrievalKind::kNeedle, "pi", 512, 0.5, 0, 1)));
}

TEST(EvaluationTest, ReportsDoNotDependOnHowLongItTook) {
  const auto json = [](double slower) {
    const Evaluation evaluation(plan(), plain_model());
    EvaluationReport report;
    evaluation.fill(report, measure_tasks(evaluation.tasks(), [&](const ScoringTask& task) {
                      TaskResults results = fake_results(task);
                      for (FitnessResult& result : results) {
                        result.score.seconds *= slower;
                        result.score.peak_memory_bytes = static_cast<std::int64_t>(slower);
                      }
                      return results;
                    }));
    return to_json(report);
  };
  EXPECT_EQ(json(1.0), json(7.0));
}

TEST(EvaluationTest, FactorsThatDoNotFitAreRefusedBeforeAnythingIsMeasured) {
  const TemporaryDirectory directory;
  EvaluationPlan with_file = plan();
  with_file.methods.push_back({.name = "three", .file = directory.write("three.csv", "1\n1.5\n2\n")});
  EXPECT_THAT(refusal([&] { const Evaluation evaluation(std::move(with_file), plain_model()); }),
              testing::HasSubstr("three.csv"));
}

TEST(EvaluationTest, WithoutRetrievalThereIsNone) { EXPECT_THAT(report_of(plan()).retrieval, IsEmpty()); }

}  // namespace
}  // namespace longrope

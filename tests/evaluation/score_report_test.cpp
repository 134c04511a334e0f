#include "evaluation/score_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <sstream>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::json;

/// A document of `tokens` scored tokens with perplexity `perplexity`, in a window of its own.
ScoredDocument document(const std::string& name, double perplexity, std::int64_t tokens) {
  ScoredDocument scored{.name = name, .result = {}};
  const double mean = std::log(perplexity);
  scored.result.score = {.nll_sum = mean * static_cast<double>(tokens),
                         .scored_tokens = tokens,
                         .blocks = {{mean * static_cast<double>(tokens), tokens}},
                         .seconds = 2.0,
                         .peak_memory_bytes = 1 << 20};
  scored.result.windows = 1;
  scored.result.window_means = mean;
  return scored;
}

ScoreReport report() {
  ScoreReport report;
  report.model = "tiny";
  report.device = "a machine";
  report.dtype = "fp32";
  report.angles = "fp64";
  report.factors = {
      {.name = "none",
       .lengths = {
           {.length = 512, .attention_factor = 1.0, .documents = {document("a", 2.0, 100), document("b", 8.0, 300)}}}}};
  return report;
}

Json json_of(const ScoreReport& report) {
  std::ostringstream out;
  write_json(report, out);
  return Json::parse(out.str());
}

std::vector<std::string> table_of(const ScoreReport& report) {
  std::ostringstream out;
  write_table(report, out);
  std::istringstream lines(out.str());
  std::vector<std::string> rows;
  for (std::string line; std::getline(lines, line);) rows.push_back(line);
  return rows;
}

TEST(ScoreReportTest, TheTotalWeighsTokens) {
  const Json json = json_of(report());
  EXPECT_EQ(json.at("fitness"), "perplexity");
  EXPECT_EQ(json.at("factors"), "none");
  EXPECT_EQ(json.at("length"), 512);
  EXPECT_EQ(json.at("documents").at(1).at("name"), "b");
  EXPECT_NEAR(json.at("documents").at(1).at("perplexity"), 8.0, 1e-12);
  const Json& total = json.at("total");
  EXPECT_EQ(total.at("scored_tokens"), 400);
  // (100 log 2 + 300 log 8) / 400 = 2.5 log 2.
  EXPECT_NEAR(total.at("perplexity"), std::exp2(2.5), 1e-12);
  EXPECT_EQ(total.at("seconds"), 4.0);
  EXPECT_EQ(total.at("tokens_per_second"), 2 * 512 / 4.0);
  EXPECT_EQ(total.at("peak_memory_bytes"), 1 << 20);
  EXPECT_EQ(total.at("blocks").at(0).at(1), 400);
  for (const char* const key : {"windows", "answers", "timings"}) EXPECT_FALSE(total.contains(key)) << key;
}

TEST(ScoreReportTest, SlidingWindowsHaveBothAverages) {
  ScoreReport sliding = report();
  sliding.fitness = {.kind = FitnessKind::kSliding, .window = 256, .stride = 128};
  const Json json = json_of(sliding);
  EXPECT_EQ(json.at("window"), 256);
  EXPECT_EQ(json.at("stride"), 128);
  const Json& total = json.at("total");
  EXPECT_EQ(total.at("windows"), 2);
  EXPECT_EQ(total.at("ppl_token"), total.at("perplexity"));
  EXPECT_NEAR(total.at("ppl_yarn"), 4.0, 1e-12);  // exp of the mean of log 2 and log 8
  EXPECT_THAT(table_of(sliding).front(), HasSubstr("windows    ppl_yarn"));
}

TEST(ScoreReportTest, AccuracyHasItsExactInterval) {
  ScoreReport accuracy = report();
  accuracy.fitness.kind = FitnessKind::kAccuracy;
  for (ScoredDocument& document : accuracy.factors[0].lengths[0].documents) {
    document.result.answers = 5;
    document.result.right_answers = document.name == "a" ? 4 : 5;
  }
  const Json total = json_of(accuracy).at("total");
  EXPECT_EQ(total.at("answers"), 10);
  EXPECT_EQ(total.at("right_answers"), 9);
  EXPECT_EQ(total.at("accuracy"), 0.9);
  EXPECT_NEAR(total.at("accuracy_interval").at(0), 0.5550, 5e-5);
  EXPECT_THAT(table_of(accuracy).back(), HasSubstr("9/10     0.900   0.555-0.997"));
}

TEST(ScoreReportTest, SeveralSetsAndLengthsAreLists) {
  ScoreReport several = report();
  several.factors[0].lengths.push_back(several.factors[0].lengths[0]);
  several.factors[0].lengths[1].length = 4096;
  several.factors.push_back(several.factors[0]);
  several.factors[1].name = "yarn";
  const Json json = json_of(several);
  EXPECT_FALSE(json.contains("factors") || json.contains("length") || json.contains("total"));
  ASSERT_EQ(json.at("factor_sets").size(), 2U);
  EXPECT_EQ(json.at("factor_sets").at(1).at("factors"), "yarn");
  EXPECT_EQ(json.at("factor_sets").at(1).at("lengths").at(1).at("length"), 4096);
  EXPECT_TRUE(json.at("factor_sets").at(1).at("lengths").at(1).contains("total"));
  const std::vector<std::string> rows = table_of(several);
  ASSERT_EQ(rows.size(), 1U + 2 * 2 * 3 + 1U);
  EXPECT_THAT(rows[0], testing::StartsWith("factors    length document "));
  EXPECT_THAT(rows[1], testing::StartsWith("none          512 a "));
  EXPECT_THAT(rows[12], testing::StartsWith("yarn         4096 total "));
}

TEST(ScoreReportTest, BestNumberOfEachDocumentIsMarked) {
  ScoreReport several = report();
  several.factors.push_back(
      {.name = "yarn", .lengths = {{.length = 512, .documents = {document("a", 3.0, 100), document("b", 4.0, 300)}}}});
  const std::vector<std::string> rows = table_of(several);
  EXPECT_THAT(rows[1], HasSubstr("    2.00000*     2.000 "));
  EXPECT_THAT(rows[2], HasSubstr("    8.00000      2.000 "));
  EXPECT_THAT(rows[4], HasSubstr("    3.00000      2.000 "));
  EXPECT_THAT(rows[5], HasSubstr("    4.00000*     2.000 "));
  EXPECT_THAT(rows[3], Not(HasSubstr("*"))) << "total";
  EXPECT_THAT(rows[6], HasSubstr("*")) << "total";
  EXPECT_EQ(rows[7], "* the best of all factors for its document and length");
  several.fitness.kind = FitnessKind::kAccuracy;
  for (ScoredFactors& factors : several.factors) {
    for (ScoredDocument& document : factors.lengths[0].documents) {
      document.result.answers = 5;
      document.result.right_answers = factors.name == "none" ? 4 : 3;
    }
  }
  EXPECT_THAT(table_of(several)[1], HasSubstr(" 0.800* "));
  EXPECT_THAT(table_of(several)[4], HasSubstr(" 0.600  "));
}

TEST(ScoreReportTest, OneSetAndOneLengthNeedNoColumns) {
  const std::vector<std::string> rows = table_of(report());
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_THAT(rows[0], testing::StartsWith("document "));
  EXPECT_EQ(rows[1],
            "a                               69.314718           100     2.00000     2.000      256.0        1.0");
}

TEST(ScoreReportTest, PhasesAreShownWhenTheyWereTimed) {
  ScoreReport timed = report();
  timed.timings = true;
  for (ScoredDocument& document : timed.factors[0].lengths[0].documents) {
    document.result.phases[1] = {.seconds = 1.0, .operations = 0.0};
    document.result.phases[3] = {.seconds = 3.0, .operations = 6e9};
  }
  EXPECT_EQ(json_of(timed).at("total").at("timings").at("attention"), (Json{{"seconds", 6.0}, {"operations", 12e9}}));
  const std::vector<std::string> rows = table_of(timed);
  ASSERT_EQ(rows.size(), 4U + 3U + 6U);
  EXPECT_EQ(rows[5], "512 tokens");
  EXPECT_EQ(rows[8], "rows              2.000   25.0        ");
  EXPECT_EQ(rows[10], "attention         6.000   75.0       2");
}

TEST(ScoreReportTest, CsvHasARowForEachBlockOfEachDocument) {
  ScoreReport blocks = report();
  ScoredLength& length = blocks.factors[0].lengths[0];
  length.length = 5000;
  length.documents = {document("a,\"b\"", 2.0, 100)};
  length.documents[0].result.score.blocks = {{0.0, 0}, {std::log(2.0) * 100.0, 100}};
  const std::string csv = by_position_csv(blocks);
  EXPECT_THAT(csv,
              testing::StartsWith("document,from_token,to_token,scored_tokens,nll_sum,perplexity,length,factors\n"));
  EXPECT_THAT(csv, HasSubstr("\n\"a,\"\"b\"\"\",0,4096,0,0,,5000,\"none\"\n"));
  EXPECT_THAT(csv, HasSubstr(",4096,5000,100,69.3147"));
  EXPECT_THAT(csv, Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace longrope

#include "evaluation/evaluation_report.h"

#include "tests/support/evaluation_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::json;

std::vector<std::string> lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string line; std::getline(stream, line);) result.push_back(line);
  return result;
}

TEST(EvaluationReportTest, JsonHasWhatTheSchemaSays) {
  const Json json = Json::parse(to_json(sample_evaluation()));
  EXPECT_EQ(json.at("schema"), "longrope-evaluation/1");
  EXPECT_EQ(json.at("model"),
            (Json{{"name", "tiny"}, {"digest", "aa"}, {"original_length", 512}, {"reached_length", 1024}}));
  EXPECT_EQ(json.at("documents"), (Json{{"file", "books.safetensors"}, {"count", 2}, {"digest", "bb"}}));
  EXPECT_EQ(json.at("retrieval_documents"),
            (Json::array({{{"kind", "passkey"}, {"file", "keys.safetensors"}, {"count", 8}, {"digest", "cc"}}})));
  EXPECT_EQ(json.at("methods").at(1), (Json{{"name", "a|b"},
                                            {"file", "a|b.json"},
                                            {"factors",
                                             {{{"length", 512}, {"digest", "d1"}, {"attention_factor", 1.25}},
                                              {{"length", 5000}, {"digest", "d1"}, {"attention_factor", 1.25}}}}}));
  EXPECT_FALSE(json.at("methods").at(0).contains("file"));
  EXPECT_EQ(json.at("threads"), 2);
}

TEST(EvaluationReportTest, JsonAddsDocumentsUp) {
  const Json json = Json::parse(to_json(sample_evaluation())).at("perplexity");
  const Json& single = json.at(2);  // "a|b" at 512 tokens
  EXPECT_EQ(single.at("method"), "a|b");
  EXPECT_EQ(single.at("kind"), "single");
  EXPECT_FALSE(single.contains("window") || single.contains("ppl_yarn"));
  EXPECT_NEAR(single.at("perplexity"), 4.0, 1e-12);
  EXPECT_EQ(single.at("scored_tokens"), 1022);
  EXPECT_EQ(single.at("blocks"), Json::array({Json::array({single.at("nll_sum"), 1022})}));
  EXPECT_EQ(single.at("documents").at(1).at("name"), "two");
  EXPECT_EQ(single.at("documents").at(1).at("scored_tokens"), 511);
  const Json& sliding = json.at(4);
  EXPECT_EQ(sliding.at("kind"), "sliding");
  EXPECT_EQ(sliding.at("window"), 256);
  EXPECT_EQ(sliding.at("stride"), 128);
  EXPECT_EQ(sliding.at("windows"), 3);
  EXPECT_NEAR(sliding.at("perplexity"), 4.0, 1e-12);
  EXPECT_NEAR(sliding.at("ppl_yarn"), 16.0, 1e-12);
}

TEST(EvaluationReportTest, AccuracyHasItsExactInterval) {
  const Json json = Json::parse(to_json(sample_evaluation())).at("retrieval").at(0);
  EXPECT_EQ(json.at("right"), 9);
  EXPECT_EQ(json.at("answers"), 10);
  EXPECT_EQ(json.at("accuracy"), 0.9);
  EXPECT_NEAR(json.at("interval").at(0), 0.5550, 5e-5);
  EXPECT_NEAR(json.at("interval").at(1), 0.9975, 5e-5);
}

TEST(EvaluationReportTest, NothingDependsOnHowLongItTook) {
  EvaluationReport later = sample_evaluation();
  for (PerplexityResult& result : later.perplexity) {
    for (EvaluatedDocument& document : result.documents) {
      document.score.seconds *= 2.0;
      document.score.peak_memory_bytes *= 2;
    }
  }
  EXPECT_EQ(to_json(later), to_json(sample_evaluation()));
  EXPECT_EQ(to_csv(later), to_csv(sample_evaluation()));
}

TEST(EvaluationReportTest, NamesThatAreNotUtf8AreReplaced) {
  EvaluationReport report = sample_evaluation();
  report.methods[1].file = "\xFF.json";
  EXPECT_THAT(to_json(report), HasSubstr("\xEF\xBF\xBD.json"));
}

TEST(EvaluationReportTest, CsvHasARowForEachLengthBlockAndDepth) {
  const std::vector<std::string> rows = lines(to_csv(sample_evaluation()));
  ASSERT_EQ(rows.size(), 1U + 2 * (1 + 1 + 1 + 2) + 2 * (1 + 1) + 6);
  for (const std::string& row : rows) EXPECT_EQ(std::ranges::count(row, ','), 17) << row;
  EXPECT_THAT(rows[1], testing::StartsWith("perplexity,\"base\",512,,,,,,1,"));
  EXPECT_THAT(rows[2], testing::StartsWith("perplexity_by_position,\"base\",512,,0,512,,,1,"));
  EXPECT_THAT(rows[5], testing::StartsWith("perplexity_by_position,\"base\",5000,,4096,5000,,,1,"));
  EXPECT_THAT(rows[6], testing::StartsWith("perplexity,\"a|b\",512,,,,,,1.25,"));
  EXPECT_THAT(rows[11], testing::StartsWith("sliding,\"base\",512,,,,256,128,1,"));
  EXPECT_THAT(rows[15], testing::StartsWith("passkey,\"base\",512,0,,,,,,,,,,9,10,0.9,0.55"));
}

TEST(EvaluationReportTest, BlocksWithoutATokenThatCountsHaveNoPerplexity) {
  EvaluationReport report = sample_evaluation();
  report.perplexity = {report.perplexity[1]};
  report.perplexity[0].documents[0].score.blocks[0] = {0.0, 0};
  EXPECT_THAT(to_csv(report), HasSubstr("perplexity_by_position,\"base\",5000,,0,4096,,,1,0,0,,,,,,,\n"));
  EXPECT_THAT(to_csv(report), Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace longrope

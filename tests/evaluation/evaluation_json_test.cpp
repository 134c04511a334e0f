#include "evaluation/evaluation_json.h"

#include "tests/support/evaluation_fixture.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

namespace longrope {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Json = nlohmann::json;

EvaluationReport read(const std::string& json) {
  const TemporaryDirectory directory;
  return read_evaluation_report(directory.write("evaluation.json", json));
}

Json sample_json() { return Json::parse(to_json(sample_evaluation())); }

TEST(EvaluationJsonTest, HasWhatTheSchemaSays) {
  const Json json = sample_json();
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

TEST(EvaluationJsonTest, PerplexitiesHaveSumsBlocksAndDocuments) {
  const Json json = sample_json().at("perplexity");
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

TEST(EvaluationJsonTest, AccuracyHasItsExactInterval) {
  const Json json = sample_json().at("retrieval").at(0);
  EXPECT_EQ(json.at("right"), 9);
  EXPECT_EQ(json.at("answers"), 10);
  EXPECT_EQ(json.at("accuracy"), 0.9);
  EXPECT_NEAR(json.at("interval").at(0), 0.5550, 5e-5);
  EXPECT_NEAR(json.at("interval").at(1), 0.9975, 5e-5);
}

TEST(EvaluationJsonTest, NamesThatAreNotUtf8AreReplaced) {
  EvaluationReport report = sample_evaluation();
  report.methods[1].file = "\xFF.json";
  EXPECT_THAT(to_json(report), HasSubstr("\xEF\xBF\xBD.json"));
}

TEST(EvaluationJsonTest, AReportThatIsWrittenIsReadBack) {
  const EvaluationReport report = sample_evaluation();
  const std::string json = to_json(report);
  EXPECT_EQ(read(json), report);
  EXPECT_EQ(to_json(read(json)), json);
}

TEST(EvaluationJsonTest, KeysThatAreNotKnownAreLeftAlone) {
  Json json = sample_json();
  json["made_by"] = {{"name", "a later version"}};
  for (const char* const list : {"methods", "perplexity", "retrieval", "retrieval_documents"}) {
    for (Json& entry : json[list]) entry["new_key"] = {1, "two"};
  }
  EXPECT_EQ(read(json.dump()), sample_evaluation());
}

TEST(EvaluationJsonTest, ListsMayBeAbsent) {
  Json json = sample_json();
  json.erase("retrieval");
  json.erase("retrieval_documents");
  for (Json& method : json["methods"]) method.erase("factors");
  for (Json& result : json["perplexity"]) {
    result.erase("blocks");
    result.erase("documents");
  }
  EvaluationReport expected = sample_evaluation();
  expected.retrieval.clear();
  expected.retrieval_files.clear();
  for (ReportedMethod& method : expected.methods) method.factors.clear();
  for (PerplexityResult& result : expected.perplexity) {
    result.blocks.clear();
    result.documents.clear();
  }
  EXPECT_EQ(read(json.dump()), expected);
}

/// The refusal of the sample with `value` at `pointer`.
std::string refusal_with(const std::string& pointer, const Json& value) {
  Json report = sample_json();
  report[Json::json_pointer(pointer)] = value;
  return refusal([&] { (void)read(report.dump()); });
}

TEST(EvaluationJsonTest, ValuesOutOfRangeAreRefusedWithTheirPlace) {
  EXPECT_THAT(refusal_with("/schema", "longrope-evaluation/2"),
              AllOf(HasSubstr("schema must be \"longrope-evaluation/1\": \"longrope-evaluation/2\""),
                    HasSubstr("evaluation.json)")));
  EXPECT_THAT(refusal_with("/model", 7), HasSubstr("model must be an object"));
  EXPECT_THAT(refusal_with("/threads", 0), HasSubstr("threads must be an integer between 1"));
  EXPECT_THAT(refusal_with("/documents/count", 0), HasSubstr("documents.count must be an integer between 1"));
  EXPECT_THAT(refusal_with("/retrieval_documents/0/kind", "haystack"),
              HasSubstr("retrieval_documents[0].kind must be one of [passkey, needle]: \"haystack\""));
  EXPECT_THAT(refusal_with("/methods/1/factors/0/length", 0), HasSubstr("methods[1].factors[0].length"));
  EXPECT_THAT(refusal_with("/perplexity/0/nll_sum", -1.0),
              HasSubstr("perplexity[0].nll_sum must not be negative: -1.0"));
  EXPECT_THAT(refusal_with("/perplexity/0/kind", "best"), HasSubstr("kind must be one of [single, sliding]"));
  EXPECT_THAT(refusal_with("/perplexity/0/scored_tokens", 0), HasSubstr("scored_tokens must be an integer"));
  EXPECT_THAT(refusal_with("/perplexity/0/blocks/0", {1, 2, 3}),
              HasSubstr("blocks[0] must be an array of two numbers"));
  EXPECT_THAT(refusal_with("/perplexity/1/blocks/1", {200, 0.5}), HasSubstr("block 1 is [200, 0.5]"));
  EXPECT_THAT(refusal_with("/perplexity/1/blocks/1/1", 1e300), HasSubstr("blocks must hold"));
  EXPECT_THAT(refusal_with("/perplexity/0/documents/0/scored_tokens", -1), HasSubstr("documents[0].scored_tokens"));
  EXPECT_THAT(refusal_with("/perplexity/4/window", 9000), HasSubstr("window must be an integer between 1 and 512"));
  EXPECT_THAT(refusal_with("/perplexity/4/stride", 257), HasSubstr("stride must be an integer between 1 and 256"));
  EXPECT_THAT(refusal_with("/perplexity/4/windows", 0), HasSubstr("windows must be an integer between 1"));
  EXPECT_THAT(refusal_with("/perplexity/4/ppl_yarn", 0.5), HasSubstr("ppl_yarn must be at least 1: 0.5"));
  EXPECT_THAT(refusal_with("/retrieval/0/depth", 25), HasSubstr("depth must be a number from 0 to 1: 25"));
  EXPECT_THAT(refusal_with("/retrieval/0/right", 11), HasSubstr("right must be an integer between 0 and 10"));
  EXPECT_THAT(refusal_with("/retrieval/0/interval", {0.9, 0.1}), HasSubstr("interval must be [low, high]"));
}

TEST(EvaluationJsonTest, FiguresThatTheirCountsDoNotGiveAreRefused) {
  EXPECT_THAT(refusal_with("/perplexity/0/perplexity", 0.5),
              HasSubstr("perplexity[0].perplexity must be exp(nll_sum / scored_tokens), 2"));
  EXPECT_THAT(refusal_with("/perplexity/0/nll_sum", 1e300), HasSubstr("exp(nll_sum / scored_tokens), inf"));
  EXPECT_THAT(refusal_with("/retrieval/0/accuracy", 0.8),
              HasSubstr("retrieval[0].accuracy must be right / answers, 0.9: 0.8"));
}

}  // namespace
}  // namespace longrope

#include "evaluation/evaluation_file.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const nlohmann::json kReport = nlohmann::json::parse(R"({
  "schema": "longrope-evaluation/1",
  "model": {"name": "byte-llama", "digest": "01", "original_length": 512, "reached_length": 1024},
  "documents": {"file": "heldout.safetensors", "count": 1, "digest": "23"},
  "dtype": "fp32", "angles": "fp64", "device": "cpu", "threads": 2,
  "methods": [{"name": "base"}, {"name": "best", "file": "best.json"}],
  "perplexity": [
    {"method": "base", "length": 8192, "kind": "single", "attention_factor": 1.0, "nll_sum": 300.5,
     "scored_tokens": 200, "perplexity": 4.5, "blocks": [[100.5, 0], [200, 200]],
     "documents": [{"name": "a", "nll_sum": 300.5, "scored_tokens": 200}]},
    {"method": "best", "length": 8192, "kind": "sliding", "window": 4096, "stride": 256, "attention_factor": 1.1,
     "nll_sum": 300.5, "scored_tokens": 200, "perplexity": 4.5, "ppl_yarn": 4.6, "blocks": [], "documents": []}],
  "retrieval": [{"kind": "passkey", "method": "base", "length": 512, "depth": 0.25, "right": 9, "answers": 10,
                 "accuracy": 0.9, "interval": [0.555, 0.997]}]})");

class EvaluationFileTest : public testing::Test {
 protected:
  [[nodiscard]] EvaluationFile read(const nlohmann::json& report) const {
    // Tests run at the same time.
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / (name + ".evaluation.json");
    std::ofstream(file) << report.dump();
    return read_evaluation_file(file);
  }
  /// The refusal of the report with `value` at `pointer`.
  [[nodiscard]] std::string refusal_with(const std::string& pointer, const nlohmann::json& value) const {
    nlohmann::json report = kReport;
    report[nlohmann::json::json_pointer(pointer)] = value;
    return refusal([&] { (void)read(report); });
  }
};

TEST_F(EvaluationFileTest, EverythingThatIsShownIsRead) {
  const EvaluationFile report = read(kReport);
  EXPECT_EQ(report.model.name, "byte-llama");
  EXPECT_EQ(report.model.reached_length, 1024);
  EXPECT_EQ(report.documents_file, "heldout.safetensors");
  EXPECT_EQ(report.document_count, 1);
  EXPECT_THAT(report.methods, ElementsAre("base", "best"));
  ASSERT_EQ(report.perplexity.size(), 2U);
  EXPECT_EQ(report.perplexity[0].nll_sum, 300.5);
  EXPECT_FALSE(report.perplexity[0].window);
  EXPECT_THAT(report.perplexity[0].blocks, ElementsAre(ScoredBlock{100.5, 0}, ScoredBlock{200.0, 200}));
  ASSERT_EQ(report.perplexity[0].documents.size(), 1U);
  EXPECT_EQ(report.perplexity[0].documents[0].scored_tokens, 200);
  EXPECT_EQ(report.perplexity[1].window, 4096);
  EXPECT_EQ(report.perplexity[1].stride, 256);
  ASSERT_EQ(report.retrieval.size(), 1U);
  EXPECT_EQ(report.retrieval[0].depth, 0.25);
  EXPECT_EQ(report.retrieval[0].interval_high, 0.997);
}

TEST_F(EvaluationFileTest, RetrievalMayBeAbsent) {
  nlohmann::json report = kReport;
  report.erase("retrieval");
  EXPECT_TRUE(read(report).retrieval.empty());
}

TEST_F(EvaluationFileTest, NumbersThatCannotBeAreRefusedWithTheirPlace) {
  EXPECT_THAT(refusal_with("/schema", "longrope-evaluation/2"),
              HasSubstr("schema must be \"longrope-evaluation/1\": \"longrope-evaluation/2\""));
  EXPECT_THAT(refusal_with("/perplexity/0/nll_sum", -1.0),
              HasSubstr("perplexity[0].nll_sum must not be negative: -1.0"));
  EXPECT_THAT(refusal_with("/perplexity/0/perplexity", 0.5), HasSubstr("perplexity must be at least 1: 0.5"));
  EXPECT_THAT(refusal_with("/perplexity/0/kind", "best"), HasSubstr("kind must be one of [single, sliding]"));
  EXPECT_THAT(refusal_with("/perplexity/0/scored_tokens", 0), HasSubstr("scored_tokens must be an integer"));
  EXPECT_THAT(refusal_with("/perplexity/0/blocks/1", {1, 2, 3}),
              HasSubstr("blocks[1] must be an array of two numbers"));
  EXPECT_THAT(refusal_with("/perplexity/0/blocks/1/1", 0.5), HasSubstr("block 1 is [200, 0.5]"));
  EXPECT_THAT(refusal_with("/perplexity/0/blocks/1/1", 1e300), HasSubstr("blocks must hold"));
  EXPECT_THAT(refusal_with("/perplexity/0/documents/0/scored_tokens", -1), HasSubstr("documents[0].scored_tokens"));
  EXPECT_THAT(refusal_with("/perplexity/1/window", 9000), HasSubstr("window must be an integer between 1 and 8192"));
  EXPECT_THAT(refusal_with("/retrieval/0/depth", 25), HasSubstr("depth must be a number from 0 to 1: 25"));
  EXPECT_THAT(refusal_with("/retrieval/0/right", 11), HasSubstr("right must be an integer between 0 and 10"));
  EXPECT_THAT(refusal_with("/retrieval/0/interval", {0.9, 0.1}), HasSubstr("interval must be [low, high]"));
  EXPECT_THAT(refusal_with("/model", 7), HasSubstr("model must be an object"));
}

}  // namespace
}  // namespace longrope

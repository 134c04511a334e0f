#include "report/search_verdict.h"

#include "evaluation/verdict_text.h"
#include "report/report_data.h"
#include "tests/report/reported_search.h"

#include <gtest/gtest.h>

#include <cmath>

namespace longrope {
namespace {

class SearchVerdictTest : public testing::Test {
 protected:
  void SetUp() override { sample::write_search(file_); }

  std::filesystem::path file_ = sample::fresh_directory() / "search.db";
};

TEST_F(SearchVerdictTest, StageWithAWinnerIsJudgedByItsHeldOutDocuments) {
  const StoreReader reader(file_);
  const std::optional<Verdict> verdict = search_verdict(reader);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->stage, "128k");
  EXPECT_EQ(verdict->target_length, 8192);
  EXPECT_EQ(verdict->documents, 1);
  EXPECT_EQ(verdict->finalists, 2);
  EXPECT_NEAR(verdict->perplexity.value(), std::exp(62.5 / 50.0), 1e-12);
  EXPECT_DOUBLE_EQ(verdict->attention_factor, 1.1902380714238083);
  EXPECT_TRUE(search_verdict(reader, "128k"));
  EXPECT_FALSE(search_verdict(reader, "64k"));
}

TEST_F(SearchVerdictTest, ReportHasTheVerdictOfEachStage) {
  const nlohmann::ordered_json verdicts = report_data({"", {{"", file_}}, {}, {}})["stages"];
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_EQ(verdicts[0]["search"], "demo");
  EXPECT_EQ(verdicts[0]["stage"], "128k");
  EXPECT_EQ(verdicts[0]["verdict"]["documents"], 1);
}

}  // namespace
}  // namespace longrope

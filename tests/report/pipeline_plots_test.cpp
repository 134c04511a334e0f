#include "report/pipeline_plots.h"

#include "common/error.h"
#include "tests/coordinator/store/sample_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

class PipelinePlotsTest : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path log(const std::string& text) const {
    const std::filesystem::path file = directory_ / "training_log.jsonl";
    std::ofstream(file) << text;
    return file;
  }
  [[nodiscard]] static std::vector<ReportPipelineStage> stages(const std::filesystem::path& log) {
    return {{"4k", "search", "finished", "", 60'000, 180'000, 90'000, ""},
            {"tune", "finetune", "finished", "", 240'000, 360'000, 120'000, log},
            {"8k", "search", "running", "", 480'000, 0, 0, ""},
            {"end", "export", "pending", "", 0, 0, 0, ""}};
  }

  std::filesystem::path directory_ = sample::fresh_directory();
};

TEST_F(PipelinePlotsTest, EveryStageHasItsStateAndItsPlaceInTime) {
  const std::vector<Json> plots = pipeline_plots(stages(""));
  ASSERT_EQ(plots.size(), 2U);
  EXPECT_EQ(plots[0]["table"]["rows"],
            Json::parse(R"([["4k", "search", "finished", 1.5, ""], ["tune", "finetune", "finished", 2.0, ""],
                            ["8k", "search", "running", 0.0, ""], ["end", "export", "pending", null, ""]])"));
  EXPECT_EQ(plots[1]["kind"], "stages");
  // Minutes since the first start; a stage that runs ends at the last time known.
  EXPECT_EQ(plots[1]["table"]["rows"],
            Json::parse(R"([["4k", "search", "finished", 0.0, 2.0], ["tune", "finetune", "finished", 3.0, 5.0],
                            ["8k", "search", "running", 7.0, 7.0]])"));
}

TEST_F(PipelinePlotsTest, TrainingLossIsThatOfTheLog) {
  const std::vector<Json> plots = pipeline_plots(
      stages(log("{\"step\":1,\"loss\":0.75,\"learning_rate\":0.0,\"gradient_norm\":0.25,\"documents\":[3]}\n"
                 "{\"step\":2,\"loss\":0.5,\"learning_rate\":1e-4,\"gradient_norm\":0.125,\"documents\":[4]}\n")));
  ASSERT_EQ(plots.size(), 3U);
  EXPECT_EQ(plots[2]["kind"], "loss");
  EXPECT_EQ(plots[2]["table"]["rows"], Json::parse(R"([["tune", 1, 0.75, 0.0, 0.25], ["tune", 2, 0.5, 1e-4, 0.125]])"));
}

TEST_F(PipelinePlotsTest, LogThatIsNoneIsRefusedWithItsLine) {
  const std::filesystem::path file =
      log("{\"step\":1,\"loss\":0.75,\"learning_rate\":0.0,\"gradient_norm\":0.25}\n{\"step\":2}\n");
  try {
    (void)pipeline_plots(stages(file));
    FAIL() << "a line without loss was taken";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("must be an object with step, loss, learning_rate and gradient_norm"));
    EXPECT_THAT(error.what(), HasSubstr("training_log.jsonl:2"));
  }
}

TEST_F(PipelinePlotsTest, WithoutAPipelineThereIsNothing) { EXPECT_TRUE(pipeline_plots({}).empty()); }

}  // namespace
}  // namespace longrope

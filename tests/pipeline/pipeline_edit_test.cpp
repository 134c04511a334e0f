#include "pipeline/pipeline_edit.h"

#include "common/error.h"
#include "tests/pipeline/pipeline_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class PipelineEditTest : public PipelineFixture {
 protected:
  void retry(const std::string& name) {
    retry_stage(database_, name,
                {.kept = [this](const std::filesystem::path& folder) { kept_.push_back(folder); },
                 .pending = [this](const std::string& stage) { pending_.push_back(stage); }});
  }
  template <typename Action>
  static std::string refusal(const Action& action) {
    try {
      action();
    } catch (const InputError& error) {
      return error.what();
    }
    return "(not refused)";
  }

  std::vector<std::filesystem::path> kept_;
  std::vector<std::string> pending_;
};

TEST_F(PipelineEditTest, RetryMakesAStageAndAllThatDependOnItPendingAgain) {
  (void)run();
  retry("256");
  for (const char* const again : {"256", "short", "tables", "out"}) {
    EXPECT_EQ(state(again), PipelineStageState::kPending) << again;
    const std::filesystem::path kept = folder(std::string(again) + ".1");
    EXPECT_THAT(kept_, Contains(kept));
    EXPECT_TRUE(std::filesystem::exists(kept)) << "what it gave is kept";
  }
  EXPECT_THAT(pending_, testing::ElementsAre("out", "tables", "short", "256")) << "those that build on others first";
  for (const char* const kept : {"128", "tune"}) EXPECT_EQ(state(kept), PipelineStageState::kFinished) << kept;
  calls_.clear();
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_THAT(calls_, testing::ElementsAre("search 256", "search short", "evaluate", "evaluate"));
}

TEST_F(PipelineEditTest, RetryOfTablesReachesTheSchedulesThatHoldThem) {
  (void)run();
  retry("short");
  EXPECT_EQ(state("256"), PipelineStageState::kFinished);
  EXPECT_EQ(state("tables"), PipelineStageState::kPending);
  EXPECT_EQ(state("out"), PipelineStageState::kPending);
}

TEST_F(PipelineEditTest, RetryReachesSearchesThatWereSeededByIt) {
  std::get<SearchStage>(stage("256").work).seed_stages = {"128"};
  stage("256").model = "";
  (void)run();
  retry("128");
  EXPECT_EQ(state("256"), PipelineStageState::kPending);
}

TEST_F(PipelineEditTest, StageThatIsNotThereIsRefusedWithTheNamesThereAre) {
  (void)run();
  EXPECT_THAT(refusal([&] { retry("1M"); }), HasSubstr("must be among 128, tune, 256"));
}

TEST_F(PipelineEditTest, CompletedStageLetsThePipelineGoOn) {
  finetune().by_hand = true;
  ASSERT_EQ(run(), PipelineEnd::kWaiting);
  train_from(folder("tune") / "hand-off" / "model", directory_ / "trained");
  const std::filesystem::path checkpoint = complete_stage(database_, "tune", directory_ / "trained");
  EXPECT_EQ(state("tune"), PipelineStageState::kFinished);
  EXPECT_EQ(row("tune").output, "trained") << "relative to the database";
  EXPECT_TRUE(checkpoint.is_absolute());
  EXPECT_EQ(run(), PipelineEnd::kFinished);
}

TEST_F(PipelineEditTest, CheckpointWithTheWeightsHandedOffIsRefused) {
  finetune().by_hand = true;
  ASSERT_EQ(run(), PipelineEnd::kWaiting);
  const std::filesystem::path handed = folder("tune") / "hand-off" / "model";
  EXPECT_THAT(refusal([&] { (void)complete_stage(database_, "tune", handed); }), HasSubstr("must have new weights"));
  EXPECT_EQ(state("tune"), PipelineStageState::kWaiting);
}

TEST_F(PipelineEditTest, OnlyAWaitingStageIsCompleted) {
  (void)run();
  EXPECT_THAT(refusal([&] { (void)complete_stage(database_, "tune", model_); }),
              HasSubstr("must be waiting: tune is finished"));
}

TEST_F(PipelineEditTest, SkippedFineTuningLeavesTheModelBeforeIt) {
  finetune().by_hand = true;
  ASSERT_EQ(run(), PipelineEnd::kWaiting);
  skip_stage(database_, "tune");
  calls_.clear();
  // The recovery and the search on the checkpoint that was skipped now build on the untouched model.
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_EQ(row("256").inputs.at("model"), row("128").inputs.at("model"));
  EXPECT_THAT(calls_, Not(Contains("finetune")));
}

TEST_F(PipelineEditTest, SearchesAndFinishedStagesAreNotSkipped) {
  (void)run();
  EXPECT_THAT(refusal([&] { skip_stage(database_, "128"); }), HasSubstr("a search must not be skipped"));
  EXPECT_THAT(refusal([&] { skip_stage(database_, "tune"); }), HasSubstr("must not be finished: tune"));
}

}  // namespace
}  // namespace longrope

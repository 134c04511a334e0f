#include "cli/status_report.h"

#include <gtest/gtest.h>

#include <string>

namespace longrope {
namespace {

/// 30 of 84 candidates of 3 documents told, 4 open with 5 documents to do; then 8 · 6 held-out documents.
StageProgress searching() {
  StageProgress stage;
  stage.name = "4k";
  stage.target_length = 4096;
  stage.state = "searching";
  stage.told = 29;
  stage.quarantined = 1;
  stage.open = 4;
  stage.budget = 84;
  stage.evaluations_pending = 3;
  stage.evaluations_leased = 2;
  stage.evaluations_scored = 97;
  stage.judging_evaluations = 48;
  stage.best_search_perplexity = 2.2441;
  stage.best_index = 27;
  stage.active_seconds = 194.0;
  return stage;
}

TEST(StatusReportTest, TimeLeftHoldsOpenDocumentsTheRestOfTheBudgetAndHeldOutOnes) {
  const StagePace pace = stage_pace(searching());
  EXPECT_DOUBLE_EQ(*pace.documents_per_second, 0.5);
  EXPECT_DOUBLE_EQ(*pace.seconds_left, (5 + 50 * 3 + 48) / 0.5);
}

TEST(StatusReportTest, ChoosingStageHasItsHeldOutDocumentsLeft) {
  StageProgress stage = searching();
  stage.state = "choosing";
  stage.judging_scored = 40;
  EXPECT_DOUBLE_EQ(*stage_pace(stage).seconds_left, 8 / 0.5);
}

TEST(StatusReportTest, StageThatIsNotAtWorkHasNoPace) {
  StageProgress stage = searching();
  for (const char* state : {"pending", "finished"}) {
    stage.state = state;
    EXPECT_FALSE(stage_pace(stage).documents_per_second || stage_pace(stage).seconds_left) << state;
  }
  stage = searching();
  stage.evaluations_scored = 0;
  EXPECT_FALSE(stage_pace(stage).seconds_left);
}

TEST(StatusReportTest, LineSaysBestRateAndTimeLeftOfTheStageAtWork) {
  StageProgress before = searching();
  before.name = "2k";
  before.state = "finished";
  StatusReport report{.stages = {before, searching()}, .workers = {WorkerStatus{.id = "a", .state = "connected"}}};
  EXPECT_EQ(pace_line(report),
            "stage 4k (2 of 2), best 2.2441 (candidate 27), 0.50 documents/s, at most 6:46 left, 1 worker connected");
  report.stages.pop_back();
  EXPECT_EQ(pace_line(report), "");
}

TEST(StatusReportTest, JsonHoldsTheSameAndNullForWhatIsNotThere) {
  StageProgress waiting;
  waiting.name = "8k";
  waiting.state = "pending";
  const auto json = status_json({.stages = {searching(), waiting}, .workers = {WorkerStatus{.id = "a"}}});
  EXPECT_EQ(json["stages"][0]["seconds_left"], 406.0);
  EXPECT_EQ(json["stages"][0]["documents_per_second"], 0.5);
  EXPECT_EQ(json["stages"][0]["best_candidate"], 27);
  EXPECT_TRUE(json["stages"][1]["seconds_left"].is_null() && json["stages"][1]["best_search_perplexity"].is_null());
  EXPECT_EQ(json["workers"][0]["id"], "a");
}

}  // namespace
}  // namespace longrope

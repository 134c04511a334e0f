#include "cli/progress_display.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>

namespace longrope {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

Now at(std::int64_t steady) { return {milliseconds(steady), 1'764'500'000'000 + steady}; }

/// 30 of 84 candidates on 3 documents each, after 1.2 seconds a document.
SearchProgress searching() {
  SearchProgress progress;
  progress.stage = "4k";
  progress.stage_state = StageState::kSearching;
  progress.told = 30;
  progress.budget = 84;
  progress.best_candidate = 27;
  progress.best_mean_nll = std::log(2.2441);
  progress.workers_ready = progress.workers_connected = 2;
  progress.evaluations_scored = 90;
  progress.search_left = 162;
  progress.judging_evaluations = progress.judging_left = 48;
  progress.may_end_early = true;
  return progress;
}

SearchEstimate estimate_of(const SearchProgress& progress) {
  SearchEstimate estimate;
  SearchProgress seen = progress;
  for (const std::int64_t scored : {2, 90}) {
    seen.evaluations_scored = scored;
    estimate.observe(seen, milliseconds(1200 * scored));
  }
  return estimate;
}

TEST(ProgressDisplayTest, LineHoldsTheTimeLeftWithTheHeldOutDocumentsAndFitsEightyColumns) {
  const LineParts parts = progress_parts(searching(), estimate_of(searching()), {});
  EXPECT_EQ(fitted_line(parts, 200),
            "stage 4k: 30/84 candidates, at most 4:12 left, best 2.2441 (candidate 27), 0.83 documents/s, 2 workers");
  EXPECT_EQ(fitted_line(parts, 79), "stage 4k: 30/84 candidates, at most 4:12 left, best 2.2441 (candidate 27)");
}

TEST(ProgressDisplayTest, HeldOutDocumentsAreCounted) {
  SearchProgress progress = searching();
  progress.stage_state = StageState::kChoosing;
  progress.search_left = 0;
  progress.judging_left = 36;
  const std::string line = fitted_line(progress_parts(progress, estimate_of(progress), {}), 200);
  EXPECT_THAT(line, HasSubstr("stage 4k: choosing, 12/48 documents, 0:43 left"));
}

TEST(ProgressDisplayTest, PipelineSaysWhichStageAndTheTimeOfAll) {
  const RunOutline run{.stages = 5, .not_over = {{"4k", 2, 300, 3e12}, {"8k", 5, 100, 2e12}}};
  const std::string line = fitted_line(progress_parts(searching(), estimate_of(searching()), run), 200);
  EXPECT_THAT(line, HasSubstr("stage 4k (2 of 5): 30/84 candidates, at most 4:12 left, about 8:12 for all stages"));
}

TEST(ProgressDisplayTest, SearchWithoutStopRulesIsNotSaidToEndEarlier) {
  SearchProgress progress = searching();
  progress.may_end_early = false;
  EXPECT_THAT(fitted_line(progress_parts(progress, estimate_of(progress), {}), 200), Not(HasSubstr("at most")));
}

TEST(ProgressDisplayTest, CoordinatorWithoutWorkersHintsAfterFiveSecondsAndThenOnceAMinute) {
  ProgressDisplay display;
  display.hint_without_workers("start one with: longrope worker");
  SearchProgress nobody = searching();
  nobody.workers_ready = nobody.workers_connected = 0;
  testing::internal::CaptureStdout();
  const auto said_until = [&](std::int64_t from, std::int64_t to, const SearchProgress& progress) {
    testing::internal::CaptureStderr();
    for (std::int64_t time = from; time < to; time += 250) display.show(progress, at(time));
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said_until(0, 5000, nobody), "");
  EXPECT_THAT(said_until(5000, 65'000, nobody), HasSubstr(" start one with: longrope worker\n"));
  EXPECT_THAT(said_until(65'000, 66'000, nobody), HasSubstr("start one with"));
  EXPECT_EQ(said_until(66'000, 200'000, searching()), "") << "workers that load the model count";
  (void)testing::internal::GetCapturedStdout();
}

}  // namespace
}  // namespace longrope

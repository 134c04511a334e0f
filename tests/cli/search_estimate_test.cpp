#include "cli/search_estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

namespace longrope {
namespace {

using std::chrono::milliseconds;

/// The README's example: 84 candidates · 3 documents, then (4 finalists + 4 baselines) · 6 held-out documents.
constexpr std::int64_t kSearch = 84 * 3;
constexpr std::int64_t kJudging = 8 * 6;

SearchProgress after(std::int64_t scored, std::size_t workers = 2) {
  SearchProgress progress;
  progress.stage = "4k";
  progress.workers_ready = workers;
  progress.evaluations_scored = scored;
  progress.search_left = std::max<std::int64_t>(kSearch - scored, 0);
  progress.judging_evaluations = kJudging;
  progress.judging_left = std::min(kJudging, kSearch + kJudging - scored);
  return progress;
}

TEST(SearchEstimateTest, TimeLeftIsWithinFivePercentOfTheTruthFromAFifthOn) {
  for (const std::int64_t workers : {1, 2, 4}) {
    SearchEstimate estimate;
    constexpr double kLoading = 20'000.0;  // milliseconds until the model is there
    constexpr double kDocument = 4'000.0;
    const auto end = kLoading + kDocument * std::ceil(double(kSearch + kJudging) / double(workers));
    for (std::int64_t round = 0; 250.0 * static_cast<double>(round) < end; ++round) {
      const double time = 250.0 * static_cast<double>(round);
      const auto rounds = static_cast<std::int64_t>(std::max(time - kLoading, 0.0) / kDocument);
      const std::int64_t scored = std::min(rounds * workers, kSearch + kJudging);
      estimate.observe(after(scored, time < kLoading ? 0 : static_cast<std::size_t>(workers)),
                       milliseconds(static_cast<std::int64_t>(time)));
      if (scored * 5 < kSearch + kJudging || time > end * 0.85) continue;
      ASSERT_TRUE(estimate.seconds_left());
      const double truth = (end - time) / 1000.0;
      EXPECT_NEAR(*estimate.seconds_left(), truth, 0.05 * truth + kDocument / 1000.0) << time << " ms, " << workers;
    }
  }
}

TEST(SearchEstimateTest, NothingIsClaimedBeforeTwoRoundsOfResults) {
  SearchEstimate estimate;
  estimate.observe(after(0), milliseconds(0));
  EXPECT_FALSE(estimate.rate());
  estimate.observe(after(1), milliseconds(60'000));
  estimate.observe(after(2), milliseconds(60'100));
  EXPECT_FALSE(estimate.seconds_left()) << "the first round was mostly loading";
  estimate.observe(after(4), milliseconds(64'100));
  EXPECT_DOUBLE_EQ(*estimate.rate(), 0.5);
}

TEST(SearchEstimateTest, RateFollowsWorkersThatCome) {
  SearchEstimate estimate;
  std::int64_t time = 0;
  std::int64_t scored = 0;
  for (; scored < 100; ++scored) estimate.observe(after(scored, 1), milliseconds(time += 4000));
  for (; scored < 230; ++scored) estimate.observe(after(scored, 4), milliseconds(time += 1000));
  EXPECT_NEAR(*estimate.rate(), 1.0, 0.01);
}

TEST(SearchEstimateTest, StageOfAnotherLengthBeginsItsRateAnew) {
  SearchEstimate estimate;
  for (std::int64_t scored = 0; scored <= 300; ++scored) estimate.observe(after(scored), milliseconds(1000 * scored));
  SearchProgress next = after(300);
  next.stage = "8k";
  estimate.observe(next, milliseconds(301'000));
  EXPECT_FALSE(estimate.rate());
  for (int i = 1; i <= 10; ++i) {
    next.evaluations_scored = 300 + i;
    estimate.observe(next, milliseconds(301'000 + 3000 * i));
  }
  EXPECT_NEAR(*estimate.rate(), 1.0 / 3.0, 1e-9);
}

TEST(SearchEstimateTest, TimeLimitBoundsTheSearchAndNotWhatFollows) {
  SearchEstimate estimate;
  for (std::int64_t scored = 0; scored <= 52; ++scored) {
    SearchProgress progress = after(scored);
    progress.search_time_left = milliseconds(10'000);
    estimate.observe(progress, milliseconds(1000 * scored));
  }
  EXPECT_NEAR(*estimate.seconds_left(), 10.0 + static_cast<double>(kJudging), 0.5);
}

TEST(SearchEstimateTest, LaterStagesCountByTheirOperations) {
  SearchEstimate estimate;
  for (std::int64_t scored = 0; scored <= 52; ++scored) estimate.observe(after(scored), milliseconds(1000 * scored));
  RunOutline run{.stages = 4, .not_over = {{"4k", 2, 300, 3e12}, {"tune", 3, 10, 6e12}, {"8k", 4, 100, 4e12}}};
  // A document of 1e10 FLOP each second: the later 1e13 FLOP take 1,000 seconds.
  EXPECT_NEAR(*estimate.seconds_left(run), *estimate.seconds_left() + 1000.0, 1e-6);
  run.not_over.resize(1);
  EXPECT_FALSE(estimate.seconds_left(run)) << "no stage follows";
}

}  // namespace
}  // namespace longrope

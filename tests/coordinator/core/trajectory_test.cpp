#include "coordinator/core/trajectory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Candidate k needs the results of all candidates <= k − lag. Records every call.
class ScriptedSearch final : public SearchAlgorithm {
 public:
  ScriptedSearch(std::vector<std::string>& calls, std::size_t lag, std::size_t size)
      : calls_(calls), lag_(lag), size_(size) {}

  [[nodiscard]] std::size_t results_needed(std::size_t k) const override { return k + 1 > lag_ ? k + 1 - lag_ : 0; }
  [[nodiscard]] std::optional<Candidate> ask(std::size_t k) override {
    calls_.push_back("ask " + std::to_string(k));
    if (k >= size_) return std::nullopt;
    Candidate candidate;
    candidate.origin = std::to_string(k);
    return candidate;
  }
  void tell(std::size_t k, const CandidateResult& result) override {
    calls_.push_back("tell " + std::to_string(k) + " " + std::to_string(result.mean_nll));
  }

 private:
  std::vector<std::string>& calls_;
  std::size_t lag_;
  std::size_t size_;
};

struct Setting {
  std::size_t lag = 1;
  std::size_t size = 1000;
  StopConfig stop;
  std::size_t budget = 20;
  std::size_t max_open = 8;
};

class TrajectoryTest : public testing::Test {
 protected:
  Trajectory make(const Setting& setting) {
    calls_.clear();
    return Trajectory(std::make_unique<ScriptedSearch>(calls_, setting.lag, setting.size), setting.stop, setting.budget,
                      setting.max_open);
  }
  /// Asks one candidate at a time and gives its result at once.
  static void run_in_order(Trajectory& trajectory, const std::function<double(std::size_t)>& result) {
    while (trajectory.next()) {
      const std::size_t k = trajectory.asked() - 1;
      trajectory.give(k, {.mean_nll = result(k)});
    }
  }

  std::vector<std::string> calls_;
};

TEST_F(TrajectoryTest, ResultsInAnyOrderGiveTheSameCallsAndTheSameEnd) {
  for (const std::size_t lag : {1U, 3U, 8U}) {
    StopConfig stop;
    stop.patience = 7;
    const Setting setting{.lag = lag, .stop = stop, .budget = 40};
    const auto result = [](std::size_t k) { return 3.0 + 1.0 / static_cast<double>(std::min<std::size_t>(k, 9) + 1); };
    Trajectory ordered = make(setting);
    // As far ahead as the algorithm allows, so that the set of asked candidates is comparable.
    std::vector<std::size_t> open;
    while (true) {
      while (ordered.next()) open.push_back(ordered.asked() - 1);
      if (open.empty() || ordered.end()) break;
      ordered.give(open.front(), {.mean_nll = result(open.front())});
      open.erase(open.begin());
    }
    const std::vector<std::string> expected = calls_;
    for (unsigned seed = 0; seed < 50; ++seed) {
      std::mt19937 random(seed);
      Trajectory shuffled = make(setting);
      open.clear();
      while (true) {
        while (shuffled.next()) open.push_back(shuffled.asked() - 1);
        if (open.empty() || shuffled.end()) break;
        std::shuffle(open.begin(), open.end(), random);
        shuffled.give(open.back(), {.mean_nll = result(open.back())});
        open.pop_back();
      }
      // How far it asked ahead of the end may differ; what was accepted, and the order of calls, may not.
      const std::size_t common = std::min(calls_.size(), expected.size());
      EXPECT_TRUE(std::equal(calls_.begin(), calls_.begin() + static_cast<std::ptrdiff_t>(common), expected.begin()))
          << "seed " << seed << ", lag " << lag;
      EXPECT_EQ(shuffled.accepted(), ordered.accepted());
      EXPECT_EQ(shuffled.end(), ordered.end());
      EXPECT_EQ(shuffled.end_detail(), ordered.end_detail());
    }
  }
}

TEST_F(TrajectoryTest, AlgorithmIsToldExactlyWhatItNeedsBeforeEachAsk) {
  Trajectory trajectory = make({.lag = 2, .budget = 3});
  run_in_order(trajectory, [](std::size_t) { return 2.0; });
  EXPECT_EQ(calls_, (std::vector<std::string>{"ask 0", "ask 1", "tell 0 2.000000", "ask 2"}));
}

TEST_F(TrajectoryTest, WaitsForTheResultsTheNextCandidateIsBredFrom) {
  Trajectory trajectory = make({.lag = 2});
  EXPECT_TRUE(trajectory.next());
  EXPECT_TRUE(trajectory.next());
  EXPECT_FALSE(trajectory.next());
  trajectory.give(1, {.mean_nll = 2.0});
  EXPECT_FALSE(trajectory.next()) << "candidate 0 is still missing";
  trajectory.give(0, {.mean_nll = 2.0});
  EXPECT_TRUE(trajectory.next());
}

TEST_F(TrajectoryTest, NoMoreThanMaxOpenAreAskedBeyondTheAccepted) {
  Trajectory trajectory = make({.lag = 100, .max_open = 3});
  int asked = 0;
  while (trajectory.next()) ++asked;
  EXPECT_EQ(asked, 3);
  trajectory.give(1, {.mean_nll = 2.0});
  EXPECT_FALSE(trajectory.next()) << "candidate 1 waits for candidate 0";
  trajectory.give(0, {.mean_nll = 2.0});
  asked = 0;
  while (trajectory.next()) ++asked;
  EXPECT_EQ(asked, 2);
}

TEST_F(TrajectoryTest, BudgetEndsTheSearch) {
  Trajectory trajectory = make({.budget = 5});
  run_in_order(trajectory, [](std::size_t k) { return 2.0 + static_cast<double>(k); });
  EXPECT_EQ(trajectory.end(), StageEnd::kBudget);
  EXPECT_EQ(trajectory.accepted(), 5U);
  EXPECT_NE(trajectory.end_detail().find("all 5 candidates"), std::string::npos) << trajectory.end_detail();
}

TEST_F(TrajectoryTest, NoImprovementAboveDeltaForPatienceCandidatesEndsTheSearch) {
  StopConfig stop;
  stop.patience = 4;
  stop.min_relative_improvement = 0.01;
  Trajectory trajectory = make({.stop = stop});
  // Candidate 2 is the last improvement above 1%; 5 improves by less.
  const std::vector<double> results = {3.0, 2.9, 2.5, 2.6, 2.5, 2.49, 2.6};
  run_in_order(trajectory, [&](std::size_t k) { return results.at(k); });
  EXPECT_EQ(trajectory.end(), StageEnd::kConverged);
  EXPECT_EQ(trajectory.accepted(), 7U);
  EXPECT_EQ(trajectory.end_detail(), "no relative improvement above 0.01 in the last 4 candidates (7 told)");
}

TEST_F(TrajectoryTest, ManySmallImprovementsTogetherCountAsOne) {
  StopConfig stop;
  stop.patience = 4;
  stop.min_relative_improvement = 0.01;
  Trajectory trajectory = make({.stop = stop});
  run_in_order(trajectory, [](std::size_t k) { return 3.0 - 0.012 * static_cast<double>(k); });
  EXPECT_EQ(trajectory.end(), StageEnd::kBudget) << "0.4% each, above 1% in three";
}

TEST_F(TrajectoryTest, TimeLimitEndsTheSearchWhereItStands) {
  StopConfig stop;
  stop.time_limit = std::chrono::seconds(90);
  Trajectory trajectory = make({.lag = 5, .stop = stop});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(trajectory.next());
  trajectory.give(0, {.mean_nll = 2.0});
  trajectory.give(2, {.mean_nll = 1.0});
  trajectory.stop_for_time();
  EXPECT_EQ(trajectory.end(), StageEnd::kTimeLimit);
  EXPECT_EQ(trajectory.end_detail(), "time limit of 90 s reached with 1 told");
  EXPECT_EQ(trajectory.accepted(), 1U);
  EXPECT_FALSE(trajectory.next());
  trajectory.give(1, {.mean_nll = 0.5});
  EXPECT_EQ(trajectory.accepted(), 1U);
}

TEST_F(TrajectoryTest, TimeLimitAfterTheEndChangesNothing) {
  Trajectory trajectory = make({.budget = 1});
  run_in_order(trajectory, [](std::size_t) { return 2.0; });
  trajectory.stop_for_time();
  EXPECT_EQ(trajectory.end(), StageEnd::kBudget);
}

TEST_F(TrajectoryTest, ExhaustedSpaceEndsTheSearchAfterTheLastResult) {
  Trajectory trajectory = make({.lag = 5, .size = 3});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(trajectory.next());
  EXPECT_FALSE(trajectory.next());
  EXPECT_FALSE(trajectory.end()) << "three results are on their way";
  for (std::size_t k : {2U, 0U, 1U}) trajectory.give(k, {.mean_nll = 2.0});
  EXPECT_EQ(trajectory.end(), StageEnd::kExhausted);
  EXPECT_EQ(trajectory.accepted(), 3U);
}

TEST_F(TrajectoryTest, SpaceExhaustedWhenAllResultsAreKnownEndsTheSearchAtOnce) {
  Trajectory trajectory = make({.lag = 1, .size = 2});
  run_in_order(trajectory, [](std::size_t) { return 2.0; });
  EXPECT_EQ(trajectory.end(), StageEnd::kExhausted);
  EXPECT_EQ(std::ranges::count(calls_, "ask 2"), 1) << "it is not asked again";
}

TEST_F(TrajectoryTest, CandidatesAfterTheEndNeverCount) {
  StopConfig stop;
  stop.patience = 2;
  Trajectory trajectory = make({.lag = 8, .stop = stop});
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(trajectory.next());
  trajectory.give(5, {.mean_nll = 0.1});
  trajectory.give(4, {.mean_nll = 0.1});
  trajectory.give(2, {.mean_nll = 2.0});
  trajectory.give(1, {.mean_nll = 2.0});
  trajectory.give(0, {.mean_nll = 2.0});
  EXPECT_EQ(trajectory.end(), StageEnd::kConverged);
  EXPECT_EQ(trajectory.accepted(), 3U);
  trajectory.give(3, {.mean_nll = 0.1});
  EXPECT_EQ(trajectory.accepted(), 3U);
}

TEST_F(TrajectoryTest, QuarantinedCandidatesAreToldAsInfinityAndAreNeverBest) {
  Trajectory trajectory = make({.budget = 4});
  const std::vector<double> results = {kInfinity, 2.5, kInfinity, 2.4};
  run_in_order(trajectory, [&](std::size_t k) { return results.at(k); });
  EXPECT_EQ(std::ranges::count(calls_, "tell 0 inf"), 1);
}

TEST_F(TrajectoryTest, NothingButQuarantinedCandidatesLeavesNoBest) {
  StopConfig stop;
  stop.patience = 3;
  Trajectory trajectory = make({.stop = stop});
  run_in_order(trajectory, [](std::size_t) { return kInfinity; });
  EXPECT_EQ(trajectory.end(), StageEnd::kConverged);
}

TEST_F(TrajectoryTest, TiesGoToTheLowestIndex) {
  Trajectory trajectory = make({.budget = 3});
  run_in_order(trajectory, [](std::size_t) { return 2.0; });
}

TEST_F(TrajectoryTest, MisuseThrows) {
  EXPECT_THROW(make({.budget = 0}), std::logic_error);
  EXPECT_THROW(make({.max_open = 0}), std::logic_error);
  Trajectory trajectory = make({.lag = 5});
  EXPECT_THROW(trajectory.give(0, {.mean_nll = 2.0}), std::logic_error) << "not asked";
  ASSERT_TRUE(trajectory.next());
  ASSERT_TRUE(trajectory.next());
  trajectory.give(1, {.mean_nll = 2.0});
  EXPECT_THROW(trajectory.give(1, {.mean_nll = 2.0}), std::logic_error) << "twice";
  EXPECT_THROW(trajectory.give(2, {.mean_nll = 2.0}), std::logic_error);
}

}  // namespace
}  // namespace longrope

#include "tests/support/row_store.h"
#include "tests/support/search_fixture.h"
#include "tests/support/search_history.h"
#include "tests/support/search_simulator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <numeric>
#include <string>
#include <vector>

namespace longrope {
namespace {

using History = std::vector<std::string>;

void expect_sound_rows(const RowStore& rows) {
  std::map<std::int64_t, int> accepted;
  for (const auto& [key, lease] : rows.leases) {
    EXPECT_TRUE(lease.end) << "open lease of evaluation " << lease.evaluation << " after the end";
    if (lease.end == LeaseEnd::kScored) ++accepted[lease.evaluation];
  }
  std::map<std::string, std::int64_t> by_hash;
  for (const auto& [id, evaluation] : rows.evaluations) {
    EXPECT_EQ(accepted[id], evaluation.state == EvaluationState::kScored ? 1 : 0) << "evaluation " << id;
    EXPECT_NE(evaluation.state, EvaluationState::kPending) << "evaluation " << id;
    EXPECT_NE(evaluation.state, EvaluationState::kLeased) << "evaluation " << id;
    EXPECT_TRUE(by_hash.emplace(evaluation.hash, id).second) << "evaluation " << id << " repeats another";
  }
  for (const auto& [id, worker] : rows.workers) EXPECT_NE(worker.state, WorkerState::kConnected) << id;
  for (const auto& [key, late] : rows.late_results) {
    EXPECT_NE(late.same_as_stored, false) << "evaluation " << late.evaluation;
  }
}

struct Outcome {
  History history;
  std::int64_t starts = 0;
  std::int64_t refused = 0;
  std::int64_t leases_lost = 0;
};

Outcome simulate(const SearchPlan& plan, std::size_t workers, const SimulatedFaults& faults, std::uint64_t seed) {
  RowStore rows;
  SearchSimulator simulator(plan, rows, workers, faults, seed);
  simulator.unscorable = unscorable_pair;
  EXPECT_TRUE(simulator.run()) << "not finished in time";
  EXPECT_EQ(simulator.broken_promises(), History{});
  expect_sound_rows(rows);
  const auto lost = std::ranges::count_if(rows.leases, [](const auto& entry) {
    const LeaseRecord& lease = entry.second;
    return lease.end == LeaseEnd::kExpired || (lease.end == LeaseEnd::kReleased && lease.detail != "no longer wanted");
  });
  return {search_history(rows.load()), simulator.coordinator_starts(), simulator.processes_refused(), lost};
}

enum class Scheme { kGenerational, kSteadyState, kGradient };

SearchPlan plan_of(Scheme scheme, std::size_t stages) {
  return scheme == Scheme::kGradient ? gradient_plan(stages) : small_plan(scheme == Scheme::kGenerational, stages);
}

Outcome simulate(Scheme scheme, std::size_t stages, std::size_t workers, const SimulatedFaults& faults,
                 std::uint64_t seed) {
  return simulate(plan_of(scheme, stages), workers, faults, seed);
}

class SimulationTest : public testing::TestWithParam<Scheme> {
 protected:
  /// `count` seeds, from LONGROPE_SIMULATION_FIRST_SEED on (1 by default): make soak runs others each time. Half as
  /// many by gradients, whose evaluations go through the same scheduler.
  static std::vector<std::uint64_t> seeds(std::size_t count) {
    const char* const first = std::getenv("LONGROPE_SIMULATION_FIRST_SEED");
    std::vector<std::uint64_t> all(GetParam() == Scheme::kGradient ? (count + 1) / 2 : count);
    std::iota(all.begin(), all.end(), first == nullptr ? 1 : std::strtoull(first, nullptr, 10));
    return all;
  }
};

TEST_P(SimulationTest, UndisturbedSearchTellsItsWholeBudgetAndNamesAWinner) {
  const History history = simulate(GetParam(), /*stages=*/1, /*workers=*/1, {}, /*seed=*/1).history;
  ASSERT_EQ(history.size(), plan_of(GetParam(), 1).stages.front().budget + 5U + 1U) << "with the baselines";
  EXPECT_TRUE(history.back().starts_with("stage 1 state 3 end 1 ")) << history.back();
  EXPECT_FALSE(history.back().ends_with("winner -")) << history.back();
  // The pairs that nobody can score must matter, or the other tests show less than they seem to.
  const auto quarantined = [&](const std::string& role) {
    return std::ranges::count_if(history, [&](const std::string& line) {
      return line.find(role) != std::string::npos && line.find(" state 2 ") != std::string::npos;
    });
  };
  EXPECT_GE(quarantined("role 0"), 1);
  EXPECT_LE(quarantined("role 0"), 9);
  EXPECT_GE(quarantined("role 1"), 1);
}

TEST(GradientSimulationTest, SearchByGradientsTakesGradientsAndMeetsSomeThatNobodyCanTake) {
  RowStore rows;
  SearchSimulator simulator(gradient_plan(), rows, /*workers=*/3, {}, /*seed=*/1);
  simulator.unscorable = unscorable_pair;
  ASSERT_TRUE(simulator.run());
  std::map<EvaluationState, std::int64_t> gradients;
  for (const auto& [id, evaluation] : rows.evaluations) {
    if (evaluation.kind == EvaluationKind::kGradient) ++gradients[evaluation.state];
  }
  EXPECT_GE(gradients[EvaluationState::kScored], 5);
  EXPECT_GE(gradients[EvaluationState::kFailed], 1);
}

TEST_P(SimulationTest, NumberAndSpeedOfWorkersDoNotChangeTheHistory) {
  const History expected = simulate(GetParam(), 2, 1, {}, 1).history;
  for (const std::size_t workers : {2U, 3U, 8U, 20U}) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      SCOPED_TRACE(testing::Message() << workers << " workers, seed " << seed);
      EXPECT_EQ(simulate(GetParam(), 2, workers, {}, seed).history, expected);
    }
  }
  EXPECT_EQ(simulate(GetParam(), 2, 64, {}, 1).history, expected);
}

TEST_P(SimulationTest, FaultsDoNotChangeTheHistory) {
  constexpr std::size_t kSeeds = 70;  // times 3 numbers of workers
  const History expected = simulate(GetParam(), 1, 1, {}, 1).history;
  std::int64_t restarts = 0;
  for (const std::size_t workers : {1U, 3U, 8U}) {
    for (const std::uint64_t seed : seeds(kSeeds)) {
      SCOPED_TRACE(testing::Message() << workers << " workers, seed " << seed);
      const Outcome run = simulate(GetParam(), 1, workers, every_fault(), seed);
      restarts += run.starts - 1;
      ASSERT_EQ(run.history, expected);
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(restarts, 200) << "the coordinator must have been killed often for this to mean anything";
}

TEST_P(SimulationTest, FewFaultsNeverLeaveTheSearchWaiting) {
  // Among many faults a later one may cure what an earlier one left behind; here it has to be cured without.
  const History expected = simulate(GetParam(), 1, 1, {}, 1).history;
  const std::vector<SimulatedFaults> kinds = {{.drop_frame = 0.1},
                                              {.repeat_frame = 0.1},
                                              {.delay_frame = 0.1},
                                              {.worker_crash = 0.1},
                                              {.worker_hang = 0.1},
                                              {.worker_lie = 0.1},
                                              {.coordinator_crash_before = 0.05},
                                              {.coordinator_crash_after = 0.02},
                                              {.drop_frame = 0.02, .coordinator_crash_after = 0.01}};
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    for (const std::uint64_t seed : seeds(24)) {
      SCOPED_TRACE(testing::Message() << "kind " << kind << ", seed " << seed);
      SimulatedFaults faults = kinds[kind];
      faults.at_most = 1 + static_cast<std::int64_t>(seed % 2);
      ASSERT_EQ(simulate(GetParam(), 1, 1, faults, seed).history, expected);
      if (HasFailure()) return;
    }
  }
}

TEST_P(SimulationTest, CoordinatorKilledAtEveryTurnComesToTheSameEnd) {
  const History expected = simulate(GetParam(), 2, 1, {}, 1).history;
  const SimulatedFaults faults{.coordinator_crash_before = 0.1, .coordinator_crash_after = 0.1};
  for (const std::uint64_t seed : seeds(20)) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ASSERT_EQ(simulate(GetParam(), 2, 2, faults, seed).history, expected);
  }
}

TEST_P(SimulationTest, FaultsDoNotChangeHowTheWinnerIsJudged) {
  const SearchPlan plan = with_final_documents(within_reach(plan_of(GetParam(), /*stages=*/2)));
  const History expected = simulate(plan, 1, {}, 1).history;
  const auto judged = [&](const std::string& part) {
    return std::ranges::count_if(expected, [&](const std::string& line) {
      return line.find(part) != std::string::npos && !line.ends_with(" final -");
    });
  };
  if (GetParam() == Scheme::kGradient) {
    EXPECT_GE(judged(" role 0 "), 1);
  } else {
    EXPECT_EQ(judged(" role 0 "), 1) << "the winner of a stage; nobody can score that of the other on its documents";
  }
  EXPECT_GE(judged(" role 1 "), 6);
  SimulatedFaults killed = every_fault();
  killed.coordinator_crash_before = 0.05;
  for (const SimulatedFaults& faults : {every_fault(), killed}) {
    for (const std::size_t workers : {1U, 3U}) {
      for (const std::uint64_t seed : seeds(20)) {
        SCOPED_TRACE(testing::Message() << workers << " workers, seed " << seed);
        ASSERT_EQ(simulate(plan, workers, faults, seed).history, expected);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(SimulationTest, AWorkerThatAlwaysLiesChangesNothing) {
  const History expected = simulate(GetParam(), 1, 1, {}, 1).history;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ASSERT_EQ(simulate(GetParam(), 1, 3, {.first_worker_always_lies = true}, seed).history, expected);
    // Alone it gets nothing done until it is mended; the search waits for it.
    ASSERT_EQ(simulate(GetParam(), 1, 1, {.first_worker_always_lies = true}, seed).history, expected);
  }
}

TEST_P(SimulationTest, ASecondProcessUnderOneIdIsRefusedAgainAndAgainAndCostsNothing) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const Outcome alone = simulate(GetParam(), 1, 2, {}, seed);
    const Outcome with_twin = simulate(GetParam(), 1, 2, {.first_worker_has_a_twin = true}, seed);
    ASSERT_EQ(with_twin.history, alone.history);
    EXPECT_EQ(alone.refused, 0);
    EXPECT_GE(with_twin.refused, 2);
    EXPECT_EQ(with_twin.leases_lost, 0);
  }
}

TEST_P(SimulationTest, ASecondProcessUnderOneIdAmongAllFaultsChangesNothing) {
  const History expected = simulate(GetParam(), 1, 1, {}, 1).history;
  for (const std::size_t workers : {1U, 3U}) {
    for (const std::uint64_t seed : seeds(20)) {
      SCOPED_TRACE(testing::Message() << workers << " workers, seed " << seed);
      SimulatedFaults faults = every_fault();
      faults.first_worker_has_a_twin = true;
      ASSERT_EQ(simulate(GetParam(), 1, workers, faults, seed).history, expected);
      if (HasFailure()) return;
    }
  }
}

TEST_P(SimulationTest, ProcessesStartedAgainUnderTheirIdAreNeverRefused) {
  const SimulatedFaults faults{
      .worker_crash = 0.1, .worker_hang = 0.02, .coordinator_crash_before = 0.01, .coordinator_crash_after = 0.01};
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    EXPECT_EQ(simulate(GetParam(), 1, 3, faults, seed).refused, 0);
  }
}

std::string name_of(const testing::TestParamInfo<Scheme>& scheme) {
  const std::array<std::string, 3> names = {"Generational", "SteadyState", "Gradient"};
  return names.at(static_cast<std::size_t>(scheme.param));
}

INSTANTIATE_TEST_SUITE_P(Schemes, SimulationTest,
                         testing::Values(Scheme::kGenerational, Scheme::kSteadyState, Scheme::kGradient), name_of);

}  // namespace
}  // namespace longrope

#include "coordinator/search/monotone_mutation.h"

#include "tests/coordinator/search/synthetic_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

namespace longrope {
namespace {

using Steps = std::vector<std::int32_t>;

const FactorGrid kGrid{.steps_per_unit = 100, .upper_bound = 5.0};
constexpr std::int32_t kMaxStep = 400;

bool in_space(const Steps& steps, std::int32_t max_step) {
  return std::ranges::is_sorted(steps) && steps.front() >= 0 && steps.back() <= max_step;
}

Steps random_monotone(std::size_t pairs, std::int32_t max_step, RandomStream& random) {
  Steps steps;
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    steps.push_back(static_cast<std::int32_t>(random.between(0, max_step)));
  }
  std::ranges::sort(steps);
  return steps;
}

TEST(MonotoneMutationTest, RedrawnPairsLieBetweenTheirNeighbours) {
  for (const double probability : {0.05, 0.3, 1.0}) {
    for (const std::size_t pairs : {1U, 2U, 3U, 48U, 64U}) {
      for (const std::int32_t max_step : {0, 1, 25, 400, 64000}) {
        for (const bool excludes : {false, true}) {
          for (std::uint64_t seed = 0; seed < 20; ++seed) {
            RandomStream random(seed, "sweep", pairs);
            const Steps before = random_monotone(pairs, max_step, random);
            Steps after = before;
            redraw_between_neighbours(after, max_step,
                                      {.probability = probability, .first_pair_excludes_right = excludes}, random);
            ASSERT_TRUE(in_space(after, max_step));
            for (std::size_t pair = 0; pair + 1 < pairs; ++pair) {
              ASSERT_LE(after[pair], before[pair + 1]);
            }
          }
        }
      }
    }
  }
}

TEST(MonotoneMutationTest, EveryGridPointOfTheWindowIsReachedAndNoOther) {
  std::set<std::int32_t> first;
  std::set<std::int32_t> last;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    RandomStream random(seed, "window", 0);
    Steps steps = {2, 3, 7};
    redraw_between_neighbours(steps, 9, {.probability = 0.3}, random);
    first.insert(steps[0]);
    if (steps[1] == 3) {
      last.insert(steps[2]);
    }
  }
  EXPECT_EQ(first, (std::set<std::int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(last, (std::set<std::int32_t>{3, 4, 5, 6, 7, 8, 9}));
}

TEST(MonotoneMutationTest, ReleasedOperatorExcludesTheRightNeighbourForPairZero) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    RandomStream random(seed, "released", 0);
    Steps steps = {1, 3, 7};
    redraw_between_neighbours(steps, 9, {.probability = 0.5, .first_pair_excludes_right = true}, random);
    EXPECT_LT(steps[0], 3);
    Steps at_one = {0, 0, 7};  // empty window: pair 0 is left alone
    redraw_between_neighbours(at_one, 9, {.probability = 1.0, .first_pair_excludes_right = true}, random);
    EXPECT_EQ(at_one[0], 0);
  }
}

TEST(MonotoneMutationTest, FlatRunChangesOnlyFromItsEnds) {
  std::size_t changed = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    RandomStream random(seed, "flat", 0);
    Steps steps(64, 300);
    redraw_between_neighbours(steps, kMaxStep, {.probability = 0.3}, random);
    bool prefix = true;  // drops cascade from pair 0; whatever is behind the first untouched pair is untouched
    for (std::size_t pair = 0; pair + 1 < steps.size(); ++pair) {
      ASSERT_LE(steps[pair], 300);
      prefix = prefix && steps[pair] != 300;
      ASSERT_TRUE(prefix || steps[pair] == 300);
      changed += steps[pair] != 300 ? 1U : 0U;
    }
    ASSERT_GE(steps.back(), prefix ? 0 : 300);  // the right end can only rise
  }
  EXPECT_GT(changed, 0U);
}

TEST(MonotoneMutationTest, BlockMoveKeepsMonotonicityAndBounds) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    RandomStream random(seed, "block", 0);
    for (const double factor : {0.2, 0.9, 0.999, 1.0, 1.1, 8.0}) {
      Steps steps = random_monotone(16, kMaxStep, random);
      const auto first = static_cast<std::size_t>(random.below(16));
      const auto last = first + static_cast<std::size_t>(random.below(16 - first));
      multiply_block(steps, kGrid, first, last, factor);
      ASSERT_TRUE(in_space(steps, kMaxStep));
    }
  }
}

TEST(MonotoneMutationTest, BlockMoveMovesTheInsideOfAFlatRun) {
  Steps raised(8, 100);  // λ = 2
  multiply_block(raised, kGrid, 2, 4, 1.5);
  EXPECT_EQ(raised, (Steps{100, 100, 200, 200, 200, 200, 200, 200}));
  Steps lowered(8, 100);
  multiply_block(lowered, kGrid, 2, 4, 0.75);
  EXPECT_EQ(lowered, (Steps{50, 50, 50, 50, 50, 100, 100, 100}));
}

TEST(MonotoneMutationTest, PowerMoveScalesTheDistanceFromOne) {
  Steps steps = {0, 10, 100, 300};
  scale_above_one(steps, kGrid, 1.5);
  EXPECT_EQ(steps, (Steps{0, 15, 150, 400}));  // the last is clamped to the bound
  scale_above_one(steps, kGrid, 0.1);
  EXPECT_TRUE(in_space(steps, kMaxStep));
  EXPECT_EQ(steps.back(), 40);
}

TEST(MonotoneMutationTest, MovesByOneLeaveEveryGridStepAlone) {
  Steps all;
  for (std::int32_t step = 0; step <= kMaxStep; ++step) {
    all.push_back(step);
  }
  Steps moved = all;
  multiply_block(moved, kGrid, 0, moved.size() - 1, 1.0);
  scale_above_one(moved, kGrid, 1.0);
  EXPECT_EQ(moved, all);
}

class MutateTest : public testing::Test {
 protected:
  MutateTest() : space_(genome_space(synthetic_space({}), 1.0)) {
    parent_ = {.steps = Steps(64, 300), .n_hat = 0, .attention = space_.attention_choices.front()};
  }

  GenomeSpace space_;
  Genome parent_;
};

TEST_F(MutateTest, AccumulatesChangesUntilTheGenomeIsNew) {
  std::vector<Genome> offered;
  const IsNew third = [&offered](const Genome& genome) {
    offered.push_back(genome);
    return offered.size() == 3;
  };
  RandomStream random(1, "mutate", 0);
  const std::optional<Mutant> mutant = mutate(parent_, space_, {.probability = 1.0}, third, random);
  ASSERT_TRUE(mutant);
  EXPECT_EQ(mutant->genome, offered.back());
  // Every round redraws pair 0 below pair 1: restarting from the parent would offer pair 1 at up to 300 again.
  EXPECT_LE(offered[1].steps[0], offered[0].steps[1]);
  EXPECT_LE(offered[2].steps[0], offered[1].steps[1]);
}

TEST_F(MutateTest, ExhaustedSpaceGivesNothing) {
  RandomStream random(1, "mutate", 0);
  EXPECT_FALSE(mutate(parent_, space_, {}, [](const Genome&) { return false; }, random));
}

TEST_F(MutateTest, FactorsThatAreAllOneFindAMutantWithEveryMove) {
  // A recovery begins with them; scaling their distance from 1 changes nothing.
  parent_.steps = Steps(64, 0);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    RandomStream random(seed, "mutate", 0);
    EXPECT_TRUE(mutate(
        parent_, space_, {.block_move_probability = 1.0}, [this](const Genome& g) { return g != parent_; }, random))
        << seed;
  }
}

TEST_F(MutateTest, SingleChoicesStayAsTheyAre) {
  RandomStream random(1, "mutate", 0);
  for (int draw = 0; draw < 200; ++draw) {
    const std::optional<Mutant> mutant =
        mutate(parent_, space_, {.probability = 1.0}, [](const Genome&) { return true; }, random);
    ASSERT_TRUE(mutant);
    EXPECT_EQ(mutant->genome.n_hat, 0);
    EXPECT_EQ(mutant->genome.attention, parent_.attention);
  }
}

TEST_F(MutateTest, SearchedChoicesAreAllReached) {
  space_.n_hat_choices = {0, 4, 16, 64};
  space_.attention_choices.push_back({.policy = AttentionPolicy::kNone, .value = 1.0});
  RandomStream random(1, "mutate", 0);
  std::set<std::int64_t> n_hats;
  int unchanged = 0;
  int other_policy = 0;
  constexpr int kDraws = 4000;
  for (int draw = 0; draw < kDraws; ++draw) {
    const std::optional<Mutant> mutant = mutate(parent_, space_, {}, [](const Genome&) { return true; }, random);
    ASSERT_TRUE(mutant);
    n_hats.insert(mutant->genome.n_hat);
    unchanged += mutant->genome.n_hat == 0 ? 1 : 0;
    other_policy += mutant->genome.attention.policy == AttentionPolicy::kNone ? 1 : 0;
  }
  EXPECT_EQ(n_hats, (std::set<std::int64_t>{0, 4, 16, 64}));
  // Redrawn with probability 0.3 among 4 (n̂) or 2 (policy): kept 0.7 + 0.3/4, changed 0.3/2. Five deviations ≈ 0.033.
  EXPECT_NEAR(unchanged / static_cast<double>(kDraws), 0.775, 0.035);
  EXPECT_NEAR(other_policy / static_cast<double>(kDraws), 0.15, 0.035);
}

TEST_F(MutateTest, BlockMoveProbabilityIsTheShareOfBlockAndPowerMoves) {
  for (const double share : {0.0, 0.5, 1.0}) {
    RandomStream random(1, "mutate", 0);
    int moves = 0;
    std::set<std::string> origins;
    constexpr int kDraws = 1000;
    for (int draw = 0; draw < kDraws; ++draw) {
      const std::optional<Mutant> mutant = mutate(
          parent_, space_, {.block_move_probability = share}, [this](const Genome& g) { return g != parent_; }, random);
      ASSERT_TRUE(mutant);
      ASSERT_TRUE(in_space(mutant->genome.steps, space_.grid.max_step()));
      origins.emplace(mutant->origin);
      moves += mutant->origin == "mutation" ? 0 : 1;
    }
    EXPECT_NEAR(moves / static_cast<double>(kDraws), share, 0.08);  // five deviations
    if (share == 1.0) {
      EXPECT_EQ(origins, (std::set<std::string>{"mutation:block", "mutation:power"}));
    }
  }
}

}  // namespace
}  // namespace longrope

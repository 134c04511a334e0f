#include "coordinator/search/monotone_crossover.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace longrope {
namespace {

using Steps = std::vector<std::int32_t>;

const AttentionFactor kSu{.policy = AttentionPolicy::kSu, .value = 1.1};
const AttentionFactor kNone{.policy = AttentionPolicy::kNone, .value = 1.0};

Genome genome(Steps steps, std::int64_t n_hat = 0, AttentionFactor attention = kSu) {
  return {.steps = std::move(steps), .n_hat = n_hat, .attention = attention};
}

bool always(const Genome& /*genome*/) { return true; }
bool never(const Genome& /*genome*/) { return false; }

/// All non-decreasing step vectors of 4 pairs over {0, 1, 2}.
std::vector<Genome> all_small_genomes() {
  std::vector<Genome> genomes;
  for (std::int32_t a = 0; a <= 2; ++a) {
    for (std::int32_t b = a; b <= 2; ++b) {
      for (std::int32_t c = b; c <= 2; ++c) {
        for (std::int32_t d = c; d <= 2; ++d) {
          genomes.push_back(genome({a, b, c, d}));
        }
      }
    }
  }
  return genomes;
}

TEST(MonotoneCrossoverTest, TwoPointChildIsMonotoneIfAndOnlyIfItsJunctionsAre) {
  int valid = 0;
  int invalid = 0;
  for (const Genome& first : all_small_genomes()) {
    for (const Genome& second : all_small_genomes()) {
      for (std::size_t begin = 0; begin < 4; ++begin) {
        for (std::size_t end = begin + 1; end <= 4; ++end) {
          const Genome child = two_point_child(first, second, begin, end);
          const bool left = begin == 0 || first.steps[begin - 1] <= second.steps[begin];
          const bool right = end == 4 || second.steps[end - 1] <= first.steps[end];
          ASSERT_EQ(std::ranges::is_sorted(child.steps), left && right);
          (left && right ? valid : invalid) += 1;
        }
      }
    }
  }
  EXPECT_GT(valid, 0);
  EXPECT_GT(invalid, 0);
}

TEST(MonotoneCrossoverTest, TwoPointCutsReachEverySegment) {
  const Genome first = genome({0, 10, 20});
  const Genome second = genome({1, 11, 21});
  std::set<Steps> children;
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    RandomStream random(seed, "cuts", 0);
    children.insert(two_point_crossover(first, second, random).steps);
  }
  EXPECT_EQ(children, (std::set<Steps>{{1, 10, 20}, {0, 11, 20}, {0, 10, 21}, {1, 11, 20}, {0, 11, 21}, {1, 11, 21}}));
}

TEST(MonotoneCrossoverTest, EveryGeneComesFromAParent) {
  const Genome first = genome({0, 10, 20, 30}, 0, kSu);
  const Genome second = genome({5, 15, 25, 35}, 16, kNone);
  std::set<std::pair<std::int64_t, AttentionPolicy>> choices;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    for (const CrossoverStrategy strategy : {CrossoverStrategy::kUniform, CrossoverStrategy::kTwoPoint}) {
      RandomStream random(seed, "genes", 0);
      const std::optional<Offspring> child = crossover(first, second, strategy, 20, always, random);
      ASSERT_TRUE(child);
      for (std::size_t pair = 0; pair < 4; ++pair) {
        const std::int32_t step = child->genome.steps[pair];
        EXPECT_TRUE(step == first.steps[pair] || step == second.steps[pair]);
      }
      choices.emplace(child->genome.n_hat, child->genome.attention.policy);
    }
  }
  EXPECT_EQ(choices.size(), 4U);  // n̂ and attention factor are inherited independently
}

TEST(MonotoneCrossoverTest, ChildIsMonotoneAndNew) {
  const std::vector<Genome> parents = all_small_genomes();
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    for (const Genome& first : parents) {
      for (const Genome& second : parents) {
        const IsNew is_new = [&](const Genome& child) { return child != first && child != second; };
        RandomStream random(seed, "valid", 0);
        for (const std::optional<Offspring>& child :
             {crossover(first, second, CrossoverStrategy::kUniform, 20, is_new, random),
              released_crossover(first, second, 0.3, 20, is_new, random)}) {
          if (child) {
            ASSERT_TRUE(std::ranges::is_sorted(child->genome.steps));
            ASSERT_TRUE(is_new(child->genome));
          }
        }
      }
    }
  }
}

TEST(MonotoneCrossoverTest, StrategiesTakeTurns) {
  const Genome first = genome({0, 10, 20});
  const Genome second = genome({1, 11, 21});
  for (const int rejected : {0, 1, 2, 3}) {
    int offered = 0;
    const IsNew is_new = [&](const Genome&) { return offered++ == rejected; };
    RandomStream random(7, "turns", 0);
    const std::optional<Offspring> child = crossover(first, second, CrossoverStrategy::kUniform, 20, is_new, random);
    ASSERT_TRUE(child);
    EXPECT_EQ(child->origin, rejected % 2 == 0 ? "crossover:uniform" : "crossover:two-point");
  }
}

TEST(MonotoneCrossoverTest, NothingComesOfTriesThatAllFail) {
  const Genome first = genome({0, 10, 20});
  const Genome second = genome({1, 11, 21});
  RandomStream random(1, "tries", 0);
  EXPECT_FALSE(crossover(first, second, CrossoverStrategy::kUniform, 20, never, random));
  EXPECT_FALSE(crossover(first, second, CrossoverStrategy::kUniform, 0, always, random));
  EXPECT_FALSE(released_crossover(first, second, 0.3, 20, never, random));
  EXPECT_FALSE(released_crossover(first, second, 0.3, 0, always, random));
}

TEST(MonotoneCrossoverTest, TriesAreBounded) {
  const Genome first = genome({0, 10, 20});
  const Genome second = genome({1, 11, 21});
  int offered = 0;
  const IsNew is_new = [&offered](const Genome&) {
    ++offered;
    return false;
  };
  RandomStream random(1, "tries", 0);
  EXPECT_FALSE(crossover(first, second, CrossoverStrategy::kTwoPoint, 7, is_new, random));
  EXPECT_EQ(offered, 7);  // every child of these parents is monotone
}

TEST(MonotoneCrossoverTest, ReleasedChildDiffersFromTheFirstParentInOneGene) {
  const Genome first = genome({0, 10, 20, 30, 40, 50});
  const Genome second = genome({5, 15, 25, 35, 45, 55});
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    RandomStream random(seed, "released", 0);
    const IsNew is_new = [&first](const Genome& child) { return child != first; };
    const std::optional<Offspring> child = released_crossover(first, second, 0.3, 20, is_new, random);
    ASSERT_TRUE(child);
    int differences = 0;
    for (std::size_t pair = 0; pair < 6; ++pair) {
      differences += child->genome.steps[pair] == first.steps[pair] ? 0 : 1;
    }
    EXPECT_EQ(differences, 1);
  }
}

TEST(MonotoneCrossoverTest, ReleasedCopiesStayUntilTheChildIsMonotone) {
  // Every pair of the second parent is above the whole first parent: a copy is monotone only with all that follow.
  const Genome first = genome({0, 1, 2});
  const Genome second = genome({10, 11, 12});
  std::set<Steps> children;
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    RandomStream random(seed, "released", 0);
    const IsNew is_new = [&first](const Genome& child) { return child != first; };
    const std::optional<Offspring> child = released_crossover(first, second, 0.3, 20, is_new, random);
    if (child) {
      children.insert(child->genome.steps);
    }
  }
  EXPECT_EQ(children, (std::set<Steps>{{0, 1, 12}, {0, 11, 12}, {10, 11, 12}}));
}

}  // namespace
}  // namespace longrope

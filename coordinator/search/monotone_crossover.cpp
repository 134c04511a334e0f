#include "coordinator/search/monotone_crossover.h"

#include <algorithm>
#include <utility>

namespace longrope {
namespace {

constexpr double kFromSecondParent = 0.5;

void mix_choices(Genome& child, const Genome& second, RandomStream& random) {
  if (random.chance(kFromSecondParent)) {
    child.n_hat = second.n_hat;
  }
  if (random.chance(kFromSecondParent)) {
    child.attention = second.attention;
  }
}

}  // namespace

Genome uniform_crossover(const Genome& first, const Genome& second, RandomStream& random) {
  Genome child = first;
  for (std::size_t pair = 0; pair < child.steps.size(); ++pair) {
    if (random.chance(kFromSecondParent)) {
      child.steps[pair] = second.steps[pair];
    }
  }
  mix_choices(child, second, random);
  return child;
}

Genome two_point_child(const Genome& first, const Genome& second, std::size_t begin, std::size_t end) {
  Genome child = first;
  for (std::size_t pair = begin; pair < end; ++pair) {
    child.steps[pair] = second.steps[pair];
  }
  return child;
}

Genome two_point_crossover(const Genome& first, const Genome& second, RandomStream& random) {
  // Cuts lie between pairs and at both ends: pairs + 1 places, two of them distinct.
  const std::size_t pairs = first.steps.size();
  const auto one = static_cast<std::size_t>(random.below(pairs + 1));
  auto other = static_cast<std::size_t>(random.below(pairs));
  if (other >= one) {
    ++other;
  }
  Genome child = two_point_child(first, second, std::min(one, other), std::max(one, other));
  mix_choices(child, second, random);
  return child;
}

std::optional<Offspring> crossover(const Genome& first, const Genome& second, CrossoverStrategy strategy,
                                   std::int64_t max_tries, const IsNew& is_new, RandomStream& random) {
  bool uniform = strategy == CrossoverStrategy::kUniform;
  for (std::int64_t attempt = 0; attempt < max_tries; ++attempt) {
    Genome child = uniform ? uniform_crossover(first, second, random) : two_point_crossover(first, second, random);
    if (is_monotone(child.steps) && is_new(child)) {
      return Offspring{.genome = std::move(child), .origin = uniform ? "crossover:uniform" : "crossover:two-point"};
    }
    uniform = !uniform;
  }
  return std::nullopt;
}

std::optional<Offspring> released_crossover(const Genome& first, const Genome& second, double probability,
                                            std::int64_t max_tries, const IsNew& is_new, RandomStream& random) {
  Genome child = first;
  for (std::int64_t attempt = 0; attempt < max_tries; ++attempt) {
    for (std::size_t pair = 0; pair < child.steps.size(); ++pair) {
      if (!random.chance(probability)) {
        continue;
      }
      if (random.chance(kFromSecondParent)) {
        child.steps[pair] = second.steps[pair];
      }
      if (is_monotone(child.steps) && is_new(child)) {
        return Offspring{.genome = std::move(child), .origin = "crossover:released"};
      }
    }
  }
  return std::nullopt;
}

}  // namespace longrope

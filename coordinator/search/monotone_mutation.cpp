#include "coordinator/search/monotone_mutation.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace longrope {
namespace {

// Far above what any large space needs (a handful of rounds), yet milliseconds when a tiny space is exhausted.
constexpr int kMaxRounds = 10000;

enum class Move { kGenes, kBlock, kPower };

Move draw_move(const Genome& parent, const MutationOptions& options, RandomStream& random) {
  // No draw when the moves are off, so that turning them off leaves the paper's operator and its random numbers alone.
  if (options.block_move_probability <= 0.0 || !random.chance(options.block_move_probability)) {
    return Move::kGenes;
  }
  if (random.below(2) == 0) return Move::kBlock;
  // All ones have no distance from 1 to scale: such a move would try in vain and end the search.
  const bool all_ones = std::ranges::all_of(parent.steps, [](std::int32_t step) { return step == 0; });
  return all_ones ? Move::kBlock : Move::kPower;
}

std::string_view origin_of(Move move) {
  switch (move) {
    case Move::kBlock:
      return "mutation:block";
    case Move::kPower:
      return "mutation:power";
    case Move::kGenes:
      break;
  }
  return "mutation";
}

void apply(Move move, std::vector<std::int32_t>& steps, const FactorGrid& grid, const MutationOptions& options,
           RandomStream& random) {
  if (move == Move::kGenes) {
    redraw_between_neighbours(steps, grid.max_step(), options, random);
    return;
  }
  const double factor = std::exp(options.block_move_sigma * random.normal());
  if (move == Move::kPower) {
    scale_above_one(steps, grid, factor);
    return;
  }
  const auto one = static_cast<std::size_t>(random.below(steps.size()));
  const auto other = static_cast<std::size_t>(random.below(steps.size()));
  multiply_block(steps, grid, std::min(one, other), std::max(one, other), factor);
}

template <typename Value>
void redraw_choice(Value& value, const std::vector<Value>& choices, double probability, RandomStream& random) {
  if (choices.size() > 1 && random.chance(probability)) {
    value = choices[random.below(choices.size())];
  }
}

}  // namespace

void redraw_between_neighbours(std::vector<std::int32_t>& steps, std::int32_t max_step, const MutationOptions& options,
                               RandomStream& random) {
  for (std::size_t pair = 0; pair < steps.size(); ++pair) {
    if (!random.chance(options.probability)) {
      continue;
    }
    const bool is_last = pair + 1 == steps.size();
    const std::int32_t low = pair == 0 ? 0 : steps[pair - 1];
    std::int32_t high = is_last ? max_step : steps[pair + 1];
    if (pair == 0 && !is_last && options.first_pair_excludes_right) {
      high -= 1;
    }
    if (low <= high) {
      steps[pair] = static_cast<std::int32_t>(random.between(low, high));
    }
  }
}

void multiply_block(std::vector<std::int32_t>& steps, const FactorGrid& grid, std::size_t first, std::size_t last,
                    double factor) {
  for (std::size_t pair = first; pair <= last; ++pair) {
    steps[pair] = grid.nearest_step(grid.lambda(steps[pair]) * factor);
  }
  for (std::size_t pair = 0; pair < first; ++pair) {
    steps[pair] = std::min(steps[pair], steps[first]);
  }
  for (std::size_t pair = last + 1; pair < steps.size(); ++pair) {
    steps[pair] = std::max(steps[pair], steps[last]);
  }
}

void scale_above_one(std::vector<std::int32_t>& steps, const FactorGrid& grid, double gamma) {
  for (std::int32_t& step : steps) {
    step = grid.nearest_step(1.0 + (grid.lambda(step) - 1.0) * gamma);
  }
}

std::optional<Mutant> mutate(Genome parent, const GenomeSpace& space, const MutationOptions& options,
                             const IsNew& is_new, RandomStream& random) {
  const Move move = draw_move(parent, options, random);
  Mutant mutant{.genome = std::move(parent), .origin = origin_of(move)};
  for (int round = 0; round < kMaxRounds; ++round) {
    apply(move, mutant.genome.steps, space.grid, options, random);
    redraw_choice(mutant.genome.n_hat, space.n_hat_choices, options.probability, random);
    redraw_choice(mutant.genome.attention, space.attention_choices, options.probability, random);
    if (is_new(mutant.genome)) {
      return mutant;
    }
  }
  return std::nullopt;
}

}  // namespace longrope

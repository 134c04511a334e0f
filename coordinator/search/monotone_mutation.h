#pragma once

#include "common/random_stream.h"
#include "coordinator/search/genome.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace longrope {

struct MutationOptions {
  double probability = 0.3;                // per gene, λ, n̂ and attention policy alike
  bool first_pair_excludes_right = false;  // as in the released code, pair 0 never takes the value of pair 1
  double block_move_probability = 0.0;     // share of mutants made by a block or power move
  double block_move_sigma = 0.1;           // standard deviation of the logarithm of such a move's factor
};

/// One pass of the neighbour window (spec §4.4): each pair in order is redrawn with `probability`, uniformly from the
/// grid between its left neighbour, already redrawn, and its right neighbour. Keeps `steps` non-decreasing and in [0,
/// max_step].
void redraw_between_neighbours(std::vector<std::int32_t>& steps, std::int32_t max_step, const MutationOptions& options,
                               RandomStream& random);

/// Multiplies λ of pairs first … last (inclusive) by `factor`; pairs beside the block that would break monotonicity are
/// moved to the block's edge. Moves flat runs, which the neighbour window changes at their ends only.
void multiply_block(std::vector<std::int32_t>& steps, const FactorGrid& grid, std::size_t first, std::size_t last,
                    double factor);

/// λ ← 1 + (λ − 1)·gamma for every pair: the whole curve, stronger or weaker.
void scale_above_one(std::vector<std::int32_t>& steps, const FactorGrid& grid, double gamma);

struct Mutant {
  Genome genome;
  std::string_view origin;  // "mutation", "mutation:block", "mutation:power"
};

/// Mutates `parent`, accumulating changes, until the genome is new (spec §4.4). nullopt after a bounded number of
/// rounds: the space around the parent is exhausted.
[[nodiscard]] std::optional<Mutant> mutate(Genome parent, const GenomeSpace& space, const MutationOptions& options,
                                           const IsNew& is_new, RandomStream& random);

}  // namespace longrope

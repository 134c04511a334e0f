#pragma once

#include "common/rope/rescale_factors.h"
#include "coordinator/search/search_algorithm.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace longrope {

/// What mutation and crossover work on: a factor set on the integer grid.
struct Genome {
  std::vector<std::int32_t> steps;  // [pairs] non-decreasing; λ_i over the base is 1 + steps[i] / steps_per_unit
  std::int64_t n_hat = 0;
  AttentionFactor attention;

  bool operator==(const Genome&) const = default;
};

/// Every genome a search may breed: any non-decreasing steps on the grid × any choice of the two lists.
struct GenomeSpace {
  std::size_t pairs = 0;
  FactorGrid grid;
  std::vector<double> base_lambda;                 // [pairs] λ that the checkpoint carries; empty: none
  std::vector<std::int64_t> n_hat_choices;         // at least one
  std::vector<AttentionFactor> attention_choices;  // at least one; total, with the m that each policy gives
};

/// Whether a genome may be proposed: false for one that was proposed before.
using IsNew = std::function<bool(const Genome&)>;

/// `attention_value` is the m of policy "value". Throws InputError when the space is empty or contradictory.
[[nodiscard]] GenomeSpace genome_space(const SearchSpace& space, double attention_value);

/// Total factors of a genome: on the grid when the checkpoint carries no scaling, else exact products with its λ.
[[nodiscard]] RescaleFactors to_factors(const Genome& genome, const GenomeSpace& space);

/// The same of λ over what the checkpoint carries that lies on no grid: each rounded to the grid's nearest, then made
/// monotone (round_to_grid()). `attention` is total.
[[nodiscard]] RescaleFactors rounded_factors(const std::vector<double>& secondary, std::int64_t n_hat,
                                             const AttentionFactor& attention, const GenomeSpace& space);

/// λ_sec of spec §5.1: the total `lambda` divided by what the checkpoint carries.
[[nodiscard]] std::vector<double> secondary_lambda(const GenomeSpace& space, std::vector<double> lambda);

/// The genome of the space closest to `factors`: λ over the base rounded to the grid, nearest choice of n̂, the same
/// attention factor or the first choice when it is not one of them. Identity for factors that came from the space.
[[nodiscard]] Genome nearest_genome(const GenomeSpace& space, const RescaleFactors& factors);

[[nodiscard]] bool is_monotone(const std::vector<std::int32_t>& steps);

}  // namespace longrope

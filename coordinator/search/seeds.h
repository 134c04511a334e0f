#pragma once

#include "common/rope/rescale_factors.h"
#include "coordinator/search/genome.h"
#include "coordinator/search/search_algorithm.h"

#include <string>
#include <vector>

namespace longrope {

struct Seed {
  std::string origin;  // "seed:yarn", "seed:published:1"
  RescaleFactors factors;
};

/// The factor sets a search begins with, without duplicates, in this order: each closed form of `names` under each
/// attention factor of the space, rounded to its grid (spec §3) and multiplied by what the checkpoint carries; then the
/// published seeds under their own attention factor, off the grid when they are, except that one that is not monotone
/// over what the checkpoint carries is rounded to the grid, which restores monotonicity. Throws InputError for an
/// unknown name or a published seed that does not fit the model.
[[nodiscard]] std::vector<Seed> make_seeds(const std::vector<std::string>& names, const SearchSpace& search_space,
                                           const GenomeSpace& genome_space);

}  // namespace longrope

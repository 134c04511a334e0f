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

/// The factor sets among which a search chooses its start by scoring them: closed forms that are good starts on some
/// models and bad ones on others, in an order of prior belief, without duplicates, rounded to the grid and multiplied
/// by what the checkpoint carries as above. All leave m as the checkpoint has it (1 without scaling), whatever the
/// policies of the space are, so that λ alone is compared. In this order:
/// - "seed:yarn" and, with other numbers of rotations at the ends of the ramp, "seed:yarn-16-1", "seed:yarn-64-1",
///   "seed:yarn-32-2", "seed:yarn-8-1"; "seed:ntk"; "seed:pi"
/// - "seed:mrrope-pro", "seed:bm", "seed:tailspline", "seed:tailspline-16-1" (band_factors.h)
/// - "seed:ntk-critical": NTK whose λ reaches the extension ratio at the critical pair of the original length
/// - "seed:llama3": Llama 3.1's rule with the extension ratio as its factor
/// - "seed:published:1", …: each published seed of the space; where its largest λ, over what the checkpoint carries, is
///   below the extension ratio or beyond the grid, it was made for another ratio and is there once more, as
///   "seed:published:1-rescaled": at every pair with the same share of ln λ of the largest, which becomes the ratio.
/// Throws InputError for a published seed that does not fit the model.
[[nodiscard]] std::vector<Seed> seed_portfolio(const SearchSpace& search_space, const GenomeSpace& genome_space);

}  // namespace longrope

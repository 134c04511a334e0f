#pragma once

#include "coordinator/search/spaces/factor_space.h"

#include <memory>

namespace longrope {

/// "boundary": the family of band_factors.h. Discrete the ends of its band, l from −1 to the last pair but one, so that
/// one λ rises, and h up to the number of pairs, l < h. Continuous, in this order: the shares alpha/(1 + alpha) and
/// beta/(1 + beta), so that [0, 1) holds every weight; the ln of a top multiplier, by which the largest λ is that many
/// times the ratio, from λ = 1 to the upper bound; ln m. Starts from BM with the standard band.
[[nodiscard]] std::unique_ptr<FactorSpace> boundary_space(const SpaceSettings& settings);

}  // namespace longrope

#pragma once

#include "coordinator/search/spaces/factor_space.h"

#include <memory>

namespace longrope {

// Spaces with a number for each pair, which need an engine that takes a table.

/// "full": ln λ of every pair, not falling from pair to pair, and ln m. No discrete parameters. Starts from YaRN.
[[nodiscard]] std::unique_ptr<FactorSpace> full_space(const SpaceSettings& settings);

/// "critical" (LongRoPE2, spec §7.3): the critical pair c, discrete, from 1 to the last pair; continuous ln λ of pair c
/// and each above it, not falling, and ln m. Pairs below follow NTK, λ_i = λ_c^(i/c). Starts from NTK below the
/// critical pair of the original length (spec §7.1).
[[nodiscard]] std::unique_ptr<FactorSpace> critical_space(const SpaceSettings& settings);

}  // namespace longrope

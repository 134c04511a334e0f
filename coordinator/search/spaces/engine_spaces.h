#pragma once

#include "coordinator/search/spaces/factor_space.h"

#include <cstdint>
#include <memory>

namespace longrope {

// Spaces of rope types that engines compute by a formula of their own; λ is total.

/// "theta": rope_theta alone, as its ln; λ_i = (theta'/theta)^(2i/d), m = 1. From the model's own theta to the one
/// whose last pair has the upper bound. Starts from NTK (spec §2.2). Its chain drops the derivative by ln m.
[[nodiscard]] std::unique_ptr<FactorSpace> theta_space(const SpaceSettings& settings);

/// "yarn" (spec §2.5): discrete the ends of the ramp, low < high, as transformers and vLLM by default and llama.cpp
/// always round them from beta_fast and beta_slow, low below the last pair so that one λ rises; continuous ln factor,
/// up to the upper bound, and ln m. Starts from YaRN with m = 1.
[[nodiscard]] std::unique_ptr<FactorSpace> yarn_space(const SpaceSettings& settings);
/// beta_fast and beta_slow that every engine rounds to the ramp from `low` to `high`: half a pair from where it would
/// be rounded otherwise. Throws InputError unless 0 <= low < high <= rotary_dim − 1.
[[nodiscard]] YarnOptions yarn_betas(const RotaryGeometry& geometry, std::int64_t low, std::int64_t high);

/// "llama3" (spec §2.6): ln factor, up to the upper bound, ln low_freq_factor and ln(high_freq_factor /
/// low_freq_factor); m = 1, because no engine reads another one with this type. Starts from Llama 3.1's 1 and 4. Its
/// chain drops the derivative by ln m.
[[nodiscard]] std::unique_ptr<FactorSpace> llama3_space(const SpaceSettings& settings);

}  // namespace longrope

#pragma once

#include "common/model/rope_scaling.h"
#include "common/rope/closed_form_factors.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// What needs no search: a factor set that a stage's winner is compared with.
struct Baseline {
  std::string origin;  // "none", "pi", "ntk", "yarn"; with m = 1 instead of its own: "pi-m1", "ntk-m1", "yarn-m1"
  RescaleFactors factors;
};

/// The checkpoint as it is, and the closed forms PI, NTK and YaRN for `target_length` tokens on top of what it carries.
/// A closed form whose attention factor m is not 1 is there once more with m = 1, after all others: what m does is then
/// told apart from what λ does.
[[nodiscard]] std::vector<Baseline> stage_baselines(const RotaryGeometry& geometry, const RopeScaling& carried,
                                                    std::int64_t target_length);

/// Origin of the checkpoint as it is.
inline constexpr const char* kUntouched = "none";
/// Origin of the factors that an exported winner gives texts that the checkpoint reached before: the checkpoint's own
/// λ, under the winner's m, because engines have one m for all lengths. Scored at that length only.
inline constexpr const char* kUntouchedWithWinnersM = "none-winner-m";

/// Those factors for a winner. nullopt: they are the checkpoint's own, to the bit; or no engine can express the winner
/// (n̂ > 0); or the checkpoint has another λ of its own for texts of the length that it reaches than exports give them.
[[nodiscard]] std::optional<RescaleFactors> untouched_with_attention_of(const RescaleFactors& winner,
                                                                        const RotaryGeometry& geometry,
                                                                        const RopeScaling& carried);

}  // namespace longrope

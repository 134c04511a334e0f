#pragma once

#include "common/rope/closed_form_factors.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace longrope {

/// kFp64: angles, cos and sin in double, rounded once to float. kHfFp32: inverse frequencies, angles, cos and sin in
/// float, as Hugging Face computes them (transformers 5.23 on CPU: within 2.4e-7 in cos at 4,096 tokens, 9e-6 at
/// 131,071); off by 0.12–0.15 in cos at two million tokens. Part of the evaluation hash.
enum class AngleMode { kFp64 = 0, kHfFp32 = 1 };

[[nodiscard]] std::string_view to_string(AngleMode mode);  // "fp64", "hf_fp32"
[[nodiscard]] AngleMode parse_angle_mode(std::string_view text);

/// Radians per token of each pair, without and with λ, in the arithmetic of an angle mode;
/// common/rope/rotary_formulas.h turns them into angles.
template <typename Real>
struct RotaryFrequencies {
  std::vector<Real> original;  // [pairs] f_i
  std::vector<Real> rescaled;  // [pairs] f_i/λ_i
};

/// Both throw InputError when λ does not fit the geometry.
[[nodiscard]] RotaryFrequencies<double> rotary_frequencies_fp64(const RotaryGeometry& geometry,
                                                                const RescaleFactors& factors);
/// Operation for operation what transformers' `_compute_longrope_parameters` does on float32 tensors:
/// 1 / (λ · theta^(2i/d)).
[[nodiscard]] RotaryFrequencies<float> rotary_frequencies_hf_fp32(const RotaryGeometry& geometry,
                                                                  const RescaleFactors& factors);

/// cos and sin of the rescaled angles, m included (m is 1 for positions below n_hat; spec §1).
struct RotaryTable {
  std::int64_t positions = 0;
  std::size_t pairs = 0;
  std::vector<float> cos;  // [positions][pairs], row-major
  std::vector<float> sin;
};

/// One angle in radians, double precision: n·f_i for n < n_hat, n·f_i/λ_i otherwise (Eq. 3).
[[nodiscard]] double rescaled_angle(const RotaryGeometry& geometry, const RescaleFactors& factors,
                                    std::int64_t position, std::size_t pair);

/// Rows `begin` to `end` (exclusive) of the table. Throws InputError when λ does not fit the geometry or the
/// positions are negative or backwards.
[[nodiscard]] RotaryTable rotary_table(const RotaryGeometry& geometry, const RescaleFactors& factors,
                                       std::int64_t begin, std::int64_t end, AngleMode mode);

}  // namespace longrope

#pragma once

#include "common/rope/closed_form_factors.h"
#include "common/rope/rotary_formulas.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

namespace longrope {

/// The precision in which angles are computed. kFp64: angles, cos and sin in double, rounded once to float. kHfFp32:
/// inverse frequencies, angles, cos and sin in float, as Hugging Face computes them (transformers 5.23 on CPU: within
/// 2.4e-7 in cos at 4,096 tokens, 9e-6 at 131,071); off by 0.12–0.15 in cos at two million tokens. Part of the
/// evaluation hash.
enum class AngleMode { kFp64 = 0, kHfFp32 = 1 };

[[nodiscard]] std::string_view to_string(AngleMode mode);  // "fp64", "hf_fp32"
[[nodiscard]] AngleMode parse_angle_mode(std::string_view text);

/// One factor set applied to one model: f_i and f_i/λ_i of every pair, m and n_hat, in the arithmetic of an angle mode.
/// Checked and computed once, when it is made; then it serves every position, tile and layer of a document. Immutable:
/// any number of threads may read it.
class RotaryFrequencies {
 public:
  /// kFp64: theta^(-2i/d), divided by λ. kHfFp32: operation for operation what transformers'
  /// `_compute_longrope_parameters` does on float32 tensors, 1 / (λ · theta^(2i/d)). Throws InputError, as validate()
  /// does and with the same `place`, for factors that do not fit the geometry.
  RotaryFrequencies(const RotaryGeometry& geometry, const RescaleFactors& factors, AngleMode mode,
                    std::string_view place);

  [[nodiscard]] std::size_t pairs() const;
  /// What rotary_formulas.h computes angles, cos and sin from: double for kFp64, float for kHfFp32. Points into this
  /// object.
  [[nodiscard]] std::variant<RotaryAngles<double>, RotaryAngles<float>> angles() const;

 private:
  std::variant<std::vector<double>, std::vector<float>> frequencies_;  // [2 · pairs]: all f_i, then all f_i/λ_i
  double attention_;
  std::int64_t n_hat_;
};

/// cos and sin of the rescaled angles, each multiplied by m (1 for positions below n_hat; spec §1).
struct RotaryTable {
  std::int64_t positions = 0;
  std::size_t pairs = 0;
  std::vector<float> cos;  // [positions][pairs], row-major
  std::vector<float> sin;  // the same shape
};

/// Rows `begin` to `end` (exclusive) of the table. Throws InputError when the positions are negative or backwards, or
/// more than the address space holds.
[[nodiscard]] RotaryTable rotary_table(const RotaryFrequencies& frequencies, std::int64_t begin, std::int64_t end);

}  // namespace longrope

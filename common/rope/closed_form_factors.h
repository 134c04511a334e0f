#pragma once

#include "common/rope/rescale_factors.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace longrope {

/// The rotary embedding of a model, as far as angles and closed forms need it.
struct RotaryGeometry {
  std::int64_t rotary_dim = 0;  // head_dim × partial_rotary_factor, even
  double rope_theta = 10000.0;
  std::int64_t original_length = 0;  // L0, tokens the model was trained at

  [[nodiscard]] std::size_t pairs() const { return static_cast<std::size_t>(rotary_dim) / 2; }
};

/// Base inverse frequencies f_i = rope_theta^(-2i/rotary_dim), radians per token; [rotary_dim / 2].
[[nodiscard]] std::vector<double> inverse_frequencies(const RotaryGeometry& geometry);

// All functions throw InputError for a geometry, ratio or option that is not positive, not finite or degenerate.
// λ arrays [rotary_dim / 2]; new inverse frequency = f_i / λ_i. `ratio` = target length / original length, as a double.
// Formulas and golden values: spec §2.
[[nodiscard]] std::vector<double> pi_factors(const RotaryGeometry& geometry, double ratio);
[[nodiscard]] std::vector<double> ntk_factors(const RotaryGeometry& geometry, double ratio);

struct YarnOptions {
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;  // Hugging Face `truncate`: floor and ceil the correction range
};
struct CorrectionRange {
  double low = 0.0;
  double high = 0.0;  // pair indices between which YaRN ramps
};
[[nodiscard]] CorrectionRange yarn_correction_range(const RotaryGeometry& geometry, const YarnOptions& options = {});
/// YaRN: harmonic blend of 1 and `ratio` over the correction range (spec §2.5).
[[nodiscard]] std::vector<double> yarn_factors(const RotaryGeometry& geometry, double ratio,
                                               const YarnOptions& options = {});
/// The released search's seed: the same ramp blended arithmetically; it is not YaRN (spec §2.5, warning).
[[nodiscard]] std::vector<double> arithmetic_ramp_factors(const RotaryGeometry& geometry, double ratio,
                                                          const YarnOptions& options = {});

/// Dynamic NTK's base for a sequence of `length` tokens; `factor` is Hugging Face's (spec §2.3).
[[nodiscard]] double dynamic_ntk_base(const RotaryGeometry& geometry, double factor, std::int64_t length);
/// The same as λ against the original base: all ones up to the original length.
[[nodiscard]] std::vector<double> dynamic_ntk_factors(const RotaryGeometry& geometry, double factor,
                                                      std::int64_t length);

struct Llama3Options {
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
};
[[nodiscard]] std::vector<double> llama3_factors(const RotaryGeometry& geometry, const Llama3Options& options = {});

/// λ_i = λ_c^(i/c) for i <= c (spec §2.4); entries above c are `critical_factor`.
[[nodiscard]] std::vector<double> ntk_below_critical(std::size_t pairs, std::size_t critical_pair,
                                                     double critical_factor);
/// Length-dynamic λ of the released code (spec §2.8): 1 + (λ_i − 1)·(length/L0 − 1)/(ratio − 1).
[[nodiscard]] std::vector<double> length_dynamic_factors(const std::vector<double>& lambda, double ratio,
                                                         double length_ratio);

/// d_tcd: the first pair whose period, `periods` times over, exceeds `length` tokens (spec §7.1, §7.2), as a pair index
/// in [0, pairs]; `pairs` when none does.
[[nodiscard]] std::int64_t critical_pair(const RotaryGeometry& geometry, std::int64_t length, double periods = 1.0);

/// su: sqrt(1 + ln s / ln L0) (spec §2.7); yarn: 0.1·ln s + 1; none: 1. Throws InputError for kValue, which has no
/// formula.
[[nodiscard]] AttentionFactor attention_factor(AttentionPolicy policy, double ratio, std::int64_t original_length);

/// A closed form by name: "none" (all ones), "pi", "ntk", "yarn", "ramp", and those of band_factors.h, "mrrope-pro",
/// "bm" and "tailspline", with the attention factor its authors use (yarn for yarn, 1 otherwise). `reached_length`:
/// tokens from which the extension is measured, for a model that carries scaling already [original_length]; targets up
/// to it give all ones: nothing is ever compressed. Throws InputError for another name.
[[nodiscard]] RescaleFactors closed_form_factors(std::string_view name, const RotaryGeometry& geometry,
                                                 std::int64_t target_length,
                                                 std::optional<std::int64_t> reached_length = std::nullopt);

}  // namespace longrope

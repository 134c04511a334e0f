#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// How the attention magnitude m, multiplied into cos and sin, is chosen (LongRoPE code "mscale", Hugging Face
/// `attention_factor`). Numbers are stored on disk: never reuse one.
enum class AttentionPolicy { kSu = 0, kYarn = 1, kNone = 2, kValue = 3 };

[[nodiscard]] std::string_view to_string(AttentionPolicy policy);  // "su", "yarn", "none", "value"
/// Throws InputError for a name that is not one of the four.
[[nodiscard]] AttentionPolicy parse_attention_policy(std::string_view text);

/// A policy together with the m it gives; `value` is what the model uses.
struct AttentionFactor {
  AttentionPolicy policy = AttentionPolicy::kNone;
  double value = 1.0;

  bool operator==(const AttentionFactor&) const = default;
};

/// The regular grid λ = 1 + k / steps_per_unit, k in [0, max_step()] (spec §3); `lambda` gives the double nearest that
/// rational. The methods throw InputError for a grid without steps or with a bound below 1 or beyond 32-bit steps.
struct FactorGrid {
  std::int32_t steps_per_unit = 100;  // q of the rational step 1/q
  double upper_bound = 1.0;           // largest λ, inclusive

  [[nodiscard]] std::int32_t max_step() const;
  [[nodiscard]] double lambda(std::int32_t step) const;
  /// Nearest grid step to `lambda`, clamped to the grid.
  [[nodiscard]] std::int32_t nearest_step(double lambda) const;
};

/// One LongRoPE factor set (paper Eq. 3): pair i is rotated by n·f_i for positions n < n_hat and by n·f_i/λ_i from
/// there on. Either on a grid (`grid_steps` full, `steps_per_unit` > 0, and λ_i == FactorGrid::lambda(grid_steps[i]))
/// or exact (`grid_steps` empty, `steps_per_unit` == 0: published arrays, composed factors).
struct RescaleFactors {
  std::vector<double> lambda;            // [rotary_dim / 2] divisors, pair 0 is the highest frequency
  std::vector<std::int32_t> grid_steps;  // [rotary_dim / 2] or empty
  std::int32_t steps_per_unit = 0;
  std::int64_t n_hat = 0;  // leading positions that keep the original angle
  AttentionFactor attention;

  bool operator==(const RescaleFactors&) const = default;
};

/// Factors on `grid` from integer steps. Throws InputError if a step is outside the grid.
[[nodiscard]] RescaleFactors factors_on_grid(const FactorGrid& grid, std::vector<std::int32_t> steps,
                                             std::int64_t n_hat, AttentionFactor attention);
/// Rounds each λ to the grid, then restores monotonicity by a running maximum (spec §3).
[[nodiscard]] RescaleFactors round_to_grid(const FactorGrid& grid, const std::vector<double>& lambda,
                                           std::int64_t n_hat, AttentionFactor attention);
[[nodiscard]] RescaleFactors exact_factors(std::vector<double> lambda, std::int64_t n_hat, AttentionFactor attention);

/// λ_total = λ_ft ⊙ λ_secondary (spec §5.1); n_hat and the attention factor are those of `secondary`.
/// Throws InputError when the lengths differ.
[[nodiscard]] RescaleFactors compose(const RescaleFactors& fine_tuned, const RescaleFactors& secondary);

/// m of an extension measured from a checkpoint that has one of its own: their product, under policy "value" unless one
/// of the two is 1.
[[nodiscard]] AttentionFactor compose(const AttentionFactor& own, const AttentionFactor& extension);

/// Refuses what no model can run: wrong count, NaN, infinite or non-positive λ, negative n_hat, attention factor that
/// is not finite and positive (1 under policy none); and grid steps that do not give λ. `place` (a file, a message)
/// goes into the InputError.
void validate(const RescaleFactors& factors, std::size_t pairs, std::string_view place);
/// What is allowed but unusual in imported factors (spec §9.11): λ < 1, non-monotone runs, λ above `usual_upper_bound`
/// (not checked when 0). One sentence per property, naming its pairs and values.
[[nodiscard]] std::vector<std::string> unusual_properties(const RescaleFactors& factors, double usual_upper_bound);

/// SHA-256 in hex of what determines the result: the bits of every λ, n_hat and the attention factor's value.
[[nodiscard]] std::string digest(const RescaleFactors& factors);

}  // namespace longrope

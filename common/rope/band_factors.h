#pragma once

#include "common/rope/closed_form_factors.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace longrope {

/// Rotations in the original length between which a closed form leaves λ = 1 and reaches the full ratio.
struct BandRotations {
  double beta_fast = 32.0;  // pairs that rotate more often keep their angle
  double beta_slow = 1.0;   // pairs that rotate less often are divided by the full ratio
};

/// The band of pairs over which λ rises, by its two ends: l and h of the formulas below.
struct FrequencyBand {
  std::int64_t last_kept = -1;  // l: last pair with λ = 1; −1: none
  std::int64_t first_full = 0;  // h > l: first pair with the full ratio; the number of pairs, or more: none

  [[nodiscard]] std::int64_t steps() const { return first_full - last_kept; }  // n

  bool operator==(const FrequencyBand&) const = default;
};

/// l is the last pair that rotates more than beta_fast times in the original length, h the first that rotates less than
/// beta_slow times. Unlike yarn_correction_range the ends are pairs of the model, not rounded real indices.
[[nodiscard]] FrequencyBand frequency_band(const RotaryGeometry& geometry, const BandRotations& rotations = {});

// Closed forms λ_i = ratio^e(q) with q = clip(i − l, 0, n) and n = h − l; e rises from e(0) = 0 to e(n) = 1, and
// ε_q = e(q) − e(q − 1) are its increments. All functions throw InputError for a geometry, ratio, band or weight out of
// its range. λ arrays [rotary_dim / 2].

/// MrRoPE-Pro (arXiv 2601.22181): e = q(q+1) / (n(n+1)), increments ∝ q.
[[nodiscard]] std::vector<double> mrrope_pro_factors(const RotaryGeometry& geometry, double ratio,
                                                     const BandRotations& rotations = {});
/// BM: e = q(q+1)(3n+2−2q) / (n(n+1)(n+2)), increments ∝ q(n+1−q); the boundary family with weights (1, 1).
[[nodiscard]] std::vector<double> bm_factors(const RotaryGeometry& geometry, double ratio,
                                             const BandRotations& rotations = {});
/// TailSpline: e = q(3n²+3n+1−q²) / (n(n+1)(2n+1)), increments ∝ (n+1−q)(n+q); the boundary family with weights (0, 1).
[[nodiscard]] std::vector<double> tail_spline_factors(const RotaryGeometry& geometry, double ratio,
                                                      const BandRotations& rotations = {});

/// How strongly the boundary family holds the first and the last increment down; both finite and at least 0.
struct BoundaryWeights {
  double alpha = 0.0;  // at the low end of the band: 0 starts at full slope
  double beta = 0.0;   // at the high end: 0 stops at full slope
};

/// e(q) of the boundary family and its derivatives.
struct BoundaryCurve {
  std::vector<double> value;     // [n + 1], from 0 to 1
  std::vector<double> by_alpha;  // [n + 1], 0 at both ends
  std::vector<double> by_beta;   // [n + 1], 0 at both ends
};
/// The increments that minimise Σ (ε_{q+1} − ε_q)² + alpha·ε_1² + beta·ε_n² under Σ ε = 1, exactly: no system is solved
/// numerically. `steps`: n, at least 1. Weights (0, 0) give the straight line, which is also their limit.
[[nodiscard]] BoundaryCurve boundary_curve(std::int64_t steps, const BoundaryWeights& weights);
/// λ of `pairs` pairs under that curve; `ratio` is what λ reaches, a top multiplier included.
[[nodiscard]] std::vector<double> boundary_factors(std::size_t pairs, const FrequencyBand& band, double ratio,
                                                   const BoundaryWeights& weights);

}  // namespace longrope

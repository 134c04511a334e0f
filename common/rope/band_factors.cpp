#include "common/rope/band_factors.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string_view>

namespace longrope {
namespace {

void require_ratio(double ratio) {
  if (!std::isfinite(ratio) || ratio <= 0.0) {
    throw InputError(fmt::format("ratio must be finite and positive: {}", ratio));
  }
}

void require_weight(std::string_view name, double weight) {
  if (!std::isfinite(weight) || weight < 0.0) {
    throw InputError(fmt::format("{} must be finite and at least 0: {}", name, weight));
  }
}

void require_steps(std::int64_t steps) {
  if (steps < 1) throw InputError(fmt::format("band must have at least one step: {}", steps));
}

/// λ_i = ratio^exponent(q) with q = clip(i − l, 0, n).
template <typename Exponent>
std::vector<double> lambda_over_band(std::size_t pairs, const FrequencyBand& band, double ratio,
                                     const Exponent& exponent) {
  require_ratio(ratio);
  std::vector<double> lambda(pairs);
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    const std::int64_t step =
        std::clamp(static_cast<std::int64_t>(pair) - band.last_kept, std::int64_t{0}, band.steps());
    lambda[pair] = std::pow(ratio, exponent(step));
  }
  return lambda;
}

/// The same for a polynomial in q and n, both real.
template <typename Exponent>
std::vector<double> lambda_by_polynomial(const RotaryGeometry& geometry, double ratio, const BandRotations& rotations,
                                         const Exponent& exponent) {
  const FrequencyBand band = frequency_band(geometry, rotations);
  const auto n = static_cast<double>(band.steps());
  return lambda_over_band(geometry.pairs(), band, ratio,
                          [&](std::int64_t step) { return exponent(static_cast<double>(step), n); });
}

}  // namespace

FrequencyBand frequency_band(const RotaryGeometry& geometry, const BandRotations& rotations) {
  if (!std::isfinite(rotations.beta_slow) || rotations.beta_slow <= 0.0) {
    throw InputError(fmt::format("beta_slow must be finite and positive: {}", rotations.beta_slow));
  }
  if (!std::isfinite(rotations.beta_fast) || rotations.beta_fast < rotations.beta_slow) {
    throw InputError(fmt::format("beta_fast must be finite and at least beta_slow {}: {}", rotations.beta_slow,
                                 rotations.beta_fast));
  }
  const std::vector<double> frequencies = inverse_frequencies(geometry);  // falling from pair to pair
  const auto rotations_of = [&](double frequency) {
    return static_cast<double>(geometry.original_length) * frequency / (2.0 * std::numbers::pi);
  };
  const auto kept = std::ranges::partition_point(
      frequencies, [&](double frequency) { return rotations_of(frequency) > rotations.beta_fast; });
  const auto full = std::ranges::partition_point(
      frequencies, [&](double frequency) { return rotations_of(frequency) >= rotations.beta_slow; });
  return {.last_kept = kept - frequencies.begin() - 1, .first_full = full - frequencies.begin()};
}

std::vector<double> mrrope_pro_factors(const RotaryGeometry& geometry, double ratio, const BandRotations& rotations) {
  return lambda_by_polynomial(geometry, ratio, rotations,
                              [](double q, double n) { return q * (q + 1.0) / (n * (n + 1.0)); });
}

std::vector<double> bm_factors(const RotaryGeometry& geometry, double ratio, const BandRotations& rotations) {
  return lambda_by_polynomial(geometry, ratio, rotations, [](double q, double n) {
    return q * (q + 1.0) * (3.0 * n + 2.0 - 2.0 * q) / (n * (n + 1.0) * (n + 2.0));
  });
}

std::vector<double> tail_spline_factors(const RotaryGeometry& geometry, double ratio, const BandRotations& rotations) {
  return lambda_by_polynomial(geometry, ratio, rotations, [](double q, double n) {
    return q * (3.0 * n * n + 3.0 * n + 1.0 - q * q) / (n * (n + 1.0) * (2.0 * n + 1.0));
  });
}

BoundaryCurve boundary_curve(std::int64_t steps, const BoundaryWeights& weights) {
  require_steps(steps);
  require_weight("alpha", weights.alpha);
  require_weight("beta", weights.beta);
  // Where the gradient of the sum of squares is the same for all ε_q, their second difference is constant, so ε is a
  // parabola in q; the first and the last row fix its two coefficients. By Cramer's rule ε_q is proportional to a
  // polynomial that is linear in alpha and in beta. Divided by (1 + alpha)(1 + beta), it is a mean of the four corners
  // by t and u below, and no weight is too large for it.
  const double kept_alpha = 1.0 / (1.0 + weights.alpha);
  const double kept_beta = 1.0 / (1.0 + weights.beta);
  const double t = weights.alpha * kept_alpha;
  const double u = weights.beta * kept_beta;
  const auto n = static_cast<double>(steps);
  BoundaryCurve curve{.value = {0.0}, .by_alpha = {0.0}, .by_beta = {0.0}};
  double sum = 0.0;
  double sum_by_t = 0.0;
  double sum_by_u = 0.0;
  for (std::int64_t step = 1; step <= steps; ++step) {
    const auto q = static_cast<double>(step);
    const double neither = n;
    const double alpha_only = 0.5 * (q - 1.0) * (2.0 * n - q);
    const double beta_only = 0.5 * (n - q) * (n + q - 1.0);
    const double both = 0.5 * (n - 1.0) * (q - 1.0) * (n - q);
    sum += kept_alpha * (kept_beta * neither + u * beta_only) + t * (kept_beta * alpha_only + u * both);
    sum_by_t += kept_beta * (alpha_only - neither) + u * (both - beta_only);
    sum_by_u += kept_alpha * (beta_only - neither) + t * (both - alpha_only);
    curve.value.push_back(sum);
    curve.by_alpha.push_back(sum_by_t);
    curve.by_beta.push_back(sum_by_u);
  }
  for (std::size_t q = 0; q < curve.value.size(); ++q) {
    curve.value[q] /= sum;
    curve.by_alpha[q] = (curve.by_alpha[q] - curve.value[q] * sum_by_t) / sum * kept_alpha * kept_alpha;
    curve.by_beta[q] = (curve.by_beta[q] - curve.value[q] * sum_by_u) / sum * kept_beta * kept_beta;
  }
  return curve;
}

std::vector<double> boundary_factors(std::size_t pairs, const FrequencyBand& band, double ratio,
                                     const BoundaryWeights& weights) {
  const BoundaryCurve curve = boundary_curve(band.steps(), weights);
  return lambda_over_band(pairs, band, ratio,
                          [&](std::int64_t step) { return curve.value[static_cast<std::size_t>(step)]; });
}

}  // namespace longrope

#include "coordinator/search/spaces/engine_spaces.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace longrope {
namespace {

class ThetaSpace : public FactorSpace {
 public:
  explicit ThetaSpace(const SpaceSettings& settings) : FactorSpace(settings, {}) {}

 private:
  /// 2i/d, which is how ln λ_i follows ln theta.
  double share(std::size_t pair) const {
    return 2.0 * static_cast<double>(pair) / static_cast<double>(settings().geometry.rotary_dim);
  }
  double ln_theta_for(double last_lambda) const {
    return std::log(settings().geometry.rope_theta) + std::log(last_lambda) / share(pairs() - 1);
  }

  std::vector<ContinuousRange> ranges(const std::vector<std::int64_t>& /*discrete*/) const override {
    return {{.name = "ln_rope_theta", .lower = ln_theta_for(1.0), .upper = ln_theta_for(settings().upper_bound)}};
  }

  SpaceParameters closed_form() const override {
    return {.discrete = {}, .continuous = {ln_theta_for(settings().ratio)}};
  }

  SpaceFactors factors_at(const SpaceParameters& parameters) const override {
    const double grown = parameters.continuous.front() - std::log(settings().geometry.rope_theta);
    SpaceFactors result;
    for (std::size_t pair = 0; pair < pairs(); ++pair) result.lambda.push_back(std::exp(share(pair) * grown));
    return result;
  }

  std::vector<double> chain_at(const SpaceParameters& /*parameters*/, const FactorGradient& gradient) const override {
    double sum = 0.0;
    for (std::size_t pair = 0; pair < pairs(); ++pair) sum += gradient.log_lambda[pair] * share(pair);
    return {sum};
  }
};

class YarnSpace : public FactorSpace {
 public:
  explicit YarnSpace(const SpaceSettings& settings)
      : FactorSpace(settings,
                    {{.name = "low", .lower = 0, .upper = static_cast<std::int64_t>(settings.geometry.pairs()) - 2},
                     {.name = "high", .lower = 1, .upper = settings.geometry.rotary_dim - 1}}) {}

 private:
  bool in_order(const std::vector<std::int64_t>& discrete) const override { return discrete[0] < discrete[1]; }

  std::vector<ContinuousRange> ranges(const std::vector<std::int64_t>& /*discrete*/) const override {
    return {lambda_range("ln_factor"), attention_range()};
  }

  SpaceParameters closed_form() const override {
    const CorrectionRange range = yarn_correction_range(settings().geometry);
    // Both ends of the authors' range may be cut off at pair 0 or the last one; the narrowest ramp is next to that.
    const auto low = std::min(static_cast<std::int64_t>(range.low), discrete()[0].upper);
    const auto high = std::clamp(static_cast<std::int64_t>(range.high), low + 1, discrete()[1].upper);
    return {.discrete = {low, high}, .continuous = {std::log(settings().ratio), 0.0}};
  }

  static double ramp(const SpaceParameters& parameters, std::size_t pair) {
    const auto low = static_cast<double>(parameters.discrete[0]);
    const auto high = static_cast<double>(parameters.discrete[1]);
    return std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
  }

  SpaceFactors factors_at(const SpaceParameters& parameters) const override {
    const double inverse = std::exp(-parameters.continuous[0]);  // 1 / factor
    SpaceFactors result{.lambda = {}, .attention_factor = std::exp(parameters.continuous[1])};
    for (std::size_t pair = 0; pair < pairs(); ++pair) {
      result.lambda.push_back(1.0 / std::lerp(1.0, inverse, ramp(parameters, pair)));
    }
    return result;
  }

  std::vector<double> chain_at(const SpaceParameters& parameters, const FactorGradient& gradient) const override {
    const double inverse = std::exp(-parameters.continuous[0]);
    double by_ln_factor = 0.0;
    for (std::size_t pair = 0; pair < pairs(); ++pair) {
      const double interpolated = ramp(parameters, pair);
      by_ln_factor += gradient.log_lambda[pair] * interpolated * inverse / std::lerp(1.0, inverse, interpolated);
    }
    return {by_ln_factor, gradient.log_attention};
  }
};

class Llama3Space : public FactorSpace {
 public:
  explicit Llama3Space(const SpaceSettings& settings) : FactorSpace(settings, {}) {}

 private:
  std::vector<ContinuousRange> ranges(const std::vector<std::int64_t>& /*discrete*/) const override {
    constexpr double kSlowest = 1.0 / 64.0;  // rotations in the original length
    constexpr double kFastest = 64.0;
    constexpr double kNarrowest = 1.01;  // high over low: a step, but one that engines can divide by
    return {lambda_range("ln_factor"),
            {.name = "ln_low_freq_factor", .lower = std::log(kSlowest), .upper = std::log(kFastest)},
            {.name = "ln_high_over_low", .lower = std::log(kNarrowest), .upper = std::log(kFastest)}};
  }

  SpaceParameters closed_form() const override {
    const Llama3Options authors;
    return {.discrete = {},
            .continuous = {std::log(settings().ratio), std::log(authors.low_freq_factor),
                           std::log(authors.high_freq_factor / authors.low_freq_factor)}};
  }

  static Llama3Options options(const SpaceParameters& parameters) {
    const double low = std::exp(parameters.continuous[1]);
    return {.factor = std::exp(parameters.continuous[0]),
            .low_freq_factor = low,
            .high_freq_factor = low * std::exp(parameters.continuous[2])};
  }

  SpaceFactors factors_at(const SpaceParameters& parameters) const override {
    return {.lambda = llama3_factors(settings().geometry, options(parameters)), .attention_factor = 1.0};
  }

  std::vector<double> chain_at(const SpaceParameters& parameters, const FactorGradient& gradient) const override {
    const Llama3Options at = options(parameters);
    const double width = at.high_freq_factor - at.low_freq_factor;
    const auto length = static_cast<double>(settings().geometry.original_length);
    const std::vector<double> frequencies = inverse_frequencies(settings().geometry);
    std::vector<double> result(3, 0.0);
    for (std::size_t pair = 0; pair < pairs(); ++pair) {
      const double rotations = length * frequencies[pair] / (2.0 * std::numbers::pi);
      const double kept = std::clamp((rotations - at.low_freq_factor) / width, 0.0, 1.0);
      const double lambda = 1.0 / ((1.0 - kept) / at.factor + kept);
      const double given = gradient.log_lambda[pair];
      result[0] += given * lambda * (1.0 - kept) / at.factor;
      if (kept == 0.0 || kept == 1.0) continue;
      // kept = (rotations/low − 1) / (high/low − 1): both continuous parameters move it by their logarithms.
      const double by_kept = -given * lambda * (1.0 - 1.0 / at.factor);
      result[1] -= by_kept * rotations / width;
      result[2] -= by_kept * kept * at.high_freq_factor / width;
    }
    return result;
  }
};

}  // namespace

std::unique_ptr<FactorSpace> theta_space(const SpaceSettings& settings) {
  return std::make_unique<ThetaSpace>(settings);
}

std::unique_ptr<FactorSpace> yarn_space(const SpaceSettings& settings) { return std::make_unique<YarnSpace>(settings); }

YarnOptions yarn_betas(const RotaryGeometry& geometry, std::int64_t low, std::int64_t high) {
  if (low < 0 || high <= low || high > geometry.rotary_dim - 1) {
    throw InputError(fmt::format("the ramp's ends must rise, from 0 on, to at most rotary_dim - 1 = {}: {} and {}",
                                 geometry.rotary_dim - 1, low, high));
  }
  (void)inverse_frequencies(geometry);
  const auto rotations_at = [&](double pair) {
    return static_cast<double>(geometry.original_length) / (2.0 * std::numbers::pi) *
           std::pow(geometry.rope_theta, -2.0 * pair / static_cast<double>(geometry.rotary_dim));
  };
  return {.beta_fast = rotations_at(static_cast<double>(low) + 0.5),
          .beta_slow = rotations_at(static_cast<double>(high) - 0.5)};
}

std::unique_ptr<FactorSpace> llama3_space(const SpaceSettings& settings) {
  return std::make_unique<Llama3Space>(settings);
}

}  // namespace longrope

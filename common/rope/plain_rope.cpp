#include "common/rope/plain_rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <vector>

namespace longrope {
namespace {

bool nearly(double value, double expected) { return std::abs(value - expected) <= kPlainRopeTolerance * expected; }

/// The decimal number of ten digits that `value` was before arithmetic changed its last bits, else `value`.
double without_noise(double value) {
  constexpr double kNoise = 1e-12;  // relative
  const std::string digits = fmt::format("{:.10g}", value);
  double rounded = value;
  std::from_chars(digits.data(), digits.data() + digits.size(), rounded);
  return std::abs(rounded - value) <= kNoise * std::abs(value) ? rounded : value;
}

/// The rule, if what it gives are the factors.
std::optional<PlainRope> confirmed(const PlainRope& rule, const std::vector<double>& given,
                                   const std::vector<double>& wanted) {
  return std::ranges::equal(given, wanted, nearly) ? std::optional(rule) : std::nullopt;
}

std::optional<PlainRope> theta_of(PlainRope rule, const std::vector<double>& wanted, const RotaryGeometry& geometry) {
  const auto dim = static_cast<double>(geometry.rotary_dim);
  if (!nearly(wanted.front(), 1.0)) return std::nullopt;
  rule.type = PlainRopeType::kTheta;
  rule.rope_theta = without_noise(geometry.rope_theta * std::pow(wanted.back(), dim / (dim - 2.0)));
  if (rule.rope_theta <= 1.0 || !std::isfinite(rule.rope_theta)) return std::nullopt;
  std::vector<double> lambda(wanted.size());
  for (std::size_t pair = 0; pair < lambda.size(); ++pair) {
    lambda[pair] = std::pow(rule.rope_theta / geometry.rope_theta, 2.0 * static_cast<double>(pair) / dim);
  }
  return confirmed(rule, lambda, wanted);
}

std::optional<PlainRope> linear_of(PlainRope rule, const std::vector<double>& wanted, const RotaryGeometry& geometry) {
  rule.type = PlainRopeType::kLinear;
  rule.factor = without_noise(wanted.front());
  if (rule.factor < 1.0) return std::nullopt;  // engines stretch only
  return confirmed(rule, pi_factors(geometry, rule.factor), wanted);
}

/// A number of turns over the original length that falls between the pairs `first` and `last`, which need not be whole;
/// of as few digits as possible.
double turns_between(double first, double last, const RotaryGeometry& geometry) {
  const auto turns_at = [&](double pair) {
    return static_cast<double>(geometry.original_length) / (2.0 * std::numbers::pi) *
           std::pow(geometry.rope_theta, -2.0 * pair / static_cast<double>(geometry.rotary_dim));
  };
  const double middle = turns_at((first + last) / 2.0);
  for (int digits = 1; digits < 6; ++digits) {
    const std::string text = fmt::format("{:.{}g}", middle, digits);
    double turns = middle;
    std::from_chars(text.data(), text.data() + text.size(), turns);
    if (turns < turns_at(first) && turns > turns_at(last)) return turns;
  }
  return middle;
}

/// Betas of the band from pair `low` to pair `high`, kept off the edges where rounding would give another pair, and
/// apart where both fall between the same two pairs.
YarnOptions betas_of(double low, double high, const RotaryGeometry& geometry) {
  constexpr double kMargin = 0.05;  // pairs
  constexpr double kMiddle = 0.5;
  return {.beta_fast = turns_between(low + kMargin, low + kMiddle - kMargin, geometry),
          .beta_slow = turns_between(high - kMiddle + kMargin, high - kMargin, geometry)};
}

std::optional<PlainRope> yarn_of(PlainRope rule, const std::vector<double>& wanted, const RotaryGeometry& geometry,
                                 double ratio) {
  const auto first = std::ranges::find_if(wanted, [](double value) { return !nearly(value, 1.0); });
  if (first == wanted.begin() || first == wanted.end()) return std::nullopt;
  const auto low = static_cast<double>(first - wanted.begin() - 1);
  const auto last = static_cast<double>(wanted.size() - 1);
  constexpr double kRounding = 1e-9;  // relative
  const CorrectionRange usual = yarn_correction_range(geometry);
  rule.type = PlainRopeType::kYarn;
  std::optional<PlainRope> found;
  for (std::int64_t pair = first - wanted.begin(); pair < geometry.rotary_dim; ++pair) {
    const auto high = static_cast<double>(pair);
    const double ramp = std::min(1.0, (last - low) / (high - low));
    const double interpolated = (1.0 - 1.0 / wanted.back()) / ramp;  // 1 - 1 / factor
    if (interpolated <= 0.0 || interpolated >= 1.0) continue;
    const double factor = without_noise(1.0 / (1.0 - interpolated));
    rule.factor = std::abs(factor - ratio) <= kRounding * ratio ? ratio : factor;
    const bool is_usual = low == usual.low && high == usual.high;
    rule.yarn = is_usual ? YarnOptions{} : betas_of(low, high, geometry);
    const std::optional<PlainRope> match = confirmed(rule, yarn_factors(geometry, rule.factor, rule.yarn), wanted);
    if (match && (is_usual || nearly(rule.factor, ratio))) return match;
    if (match && !found) found = match;
  }
  return found;
}

std::optional<PlainRope> llama3_of(PlainRope rule, const std::vector<double>& wanted, const RotaryGeometry& geometry) {
  rule.type = PlainRopeType::kLlama3;
  rule.factor = without_noise(wanted.back());
  const std::vector<double> frequencies = inverse_frequencies(geometry);
  std::vector<std::size_t> between;
  for (std::size_t pair = 0; pair < wanted.size(); ++pair) {
    if (!nearly(wanted[pair], 1.0) && !nearly(wanted[pair], rule.factor)) between.push_back(pair);
  }
  constexpr std::size_t kDetermined = 2;
  if (rule.factor <= 1.0 || between.size() < kDetermined) return std::nullopt;
  // 1 / λ is linear in the turns of a pair over the original length, from 1 / factor at the low one to 1 at the high
  // one.
  const auto turns = [&](std::size_t pair) {
    return static_cast<double>(geometry.original_length) * frequencies[pair] / (2.0 * std::numbers::pi);
  };
  const double first = 1.0 / wanted[between.front()];
  const double last = 1.0 / wanted[between.back()];
  const double slope = (first - last) / (turns(between.front()) - turns(between.back()));
  rule.low_freq_factor = without_noise(turns(between.back()) + (1.0 / rule.factor - last) / slope);
  rule.high_freq_factor = without_noise(turns(between.back()) + (1.0 - last) / slope);
  if (!(rule.low_freq_factor > 0.0 && rule.high_freq_factor > rule.low_freq_factor)) return std::nullopt;
  const Llama3Options options = {
      .factor = rule.factor, .low_freq_factor = rule.low_freq_factor, .high_freq_factor = rule.high_freq_factor};
  return confirmed(rule, llama3_factors(geometry, options), wanted);
}

}  // namespace

std::string PlainRope::text() const {
  switch (type) {
    case PlainRopeType::kLinear:
      return fmt::format("linear with factor {:.10g}", factor);
    case PlainRopeType::kTheta:
      return fmt::format("rope_theta {:.10g}", rope_theta);
    case PlainRopeType::kYarn:
      return fmt::format("yarn with factor {:.10g}, beta_fast {:.10g} and beta_slow {:.10g}", factor, yarn.beta_fast,
                         yarn.beta_slow);
    case PlainRopeType::kLlama3:
      return fmt::format("llama3 with factor {:.10g}, low_freq_factor {:.10g} and high_freq_factor {:.10g}", factor,
                         low_freq_factor, high_freq_factor);
  }
  return {};
}

std::optional<PlainRope> plain_rope_of(const RescaleFactors& factors, const RotaryGeometry& geometry,
                                       std::int64_t target_length) {
  validate(factors, geometry.pairs(), "factors");
  if (factors.n_hat > 0) return std::nullopt;
  const double ratio = static_cast<double>(target_length) / static_cast<double>(geometry.original_length);
  PlainRope rule;
  rule.rope_theta = geometry.rope_theta;
  rule.original_length = geometry.original_length;
  rule.attention = factors.attention;
  const std::vector<double>& lambda = factors.lambda;
  if (auto found = theta_of(rule, lambda, geometry)) return found;
  if (auto found = linear_of(rule, lambda, geometry)) return found;
  if (auto found = yarn_of(rule, lambda, geometry, ratio)) return found;
  return llama3_of(rule, lambda, geometry);
}

}  // namespace longrope

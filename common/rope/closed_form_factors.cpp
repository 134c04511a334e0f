#include "common/rope/closed_form_factors.h"

#include "common/error.h"
#include "common/rope/band_factors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace longrope {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;  // radians of one rotation

void require_usable(const RotaryGeometry& geometry) {
  if (geometry.rotary_dim < 4 || geometry.rotary_dim % 2 != 0) {
    throw InputError(fmt::format("rotary_dim must be even and at least 4: {}", geometry.rotary_dim));
  }
  if (!std::isfinite(geometry.rope_theta) || geometry.rope_theta <= 1.0) {
    throw InputError(fmt::format("rope_theta must be finite and above 1: {}", geometry.rope_theta));
  }
  if (geometry.original_length < 2) {
    throw InputError(fmt::format("original_length must be at least 2 tokens: {}", geometry.original_length));
  }
}

void require_positive(std::string_view name, double value) {
  if (!std::isfinite(value) || value <= 0.0) {
    throw InputError(fmt::format("{} must be finite and positive: {}", name, value));
  }
}

/// λ per pair from a formula in the pair index.
template <typename Formula>
std::vector<double> lambda_by_pair(std::size_t pairs, const Formula& formula) {
  std::vector<double> lambda(pairs);
  for (std::size_t pair = 0; pair < pairs; ++pair) lambda[pair] = formula(static_cast<double>(pair));
  return lambda;
}

/// d / (d − 2): the exponent that gives the last pair exactly the wanted ratio.
double ntk_exponent(const RotaryGeometry& geometry) {
  const auto dim = static_cast<double>(geometry.rotary_dim);
  return dim / (dim - 2.0);
}

/// YaRN's ramp: 0 (keep) below the correction range, 1 (interpolate) above.
class YarnRamp {
 public:
  YarnRamp(const RotaryGeometry& geometry, const YarnOptions& options)
      : range_(yarn_correction_range(geometry, options)) {
    constexpr double kSmallestWidth = 0.001;  // Hugging Face's guard against division by zero
    if (range_.low == range_.high) range_.high += kSmallestWidth;
  }
  double operator()(double pair) const {
    return std::clamp((pair - range_.low) / (range_.high - range_.low), 0.0, 1.0);
  }

 private:
  CorrectionRange range_;
};

}  // namespace

std::vector<double> inverse_frequencies(const RotaryGeometry& geometry) {
  require_usable(geometry);
  return lambda_by_pair(geometry.pairs(), [&](double pair) {
    return std::pow(geometry.rope_theta, -2.0 * pair / static_cast<double>(geometry.rotary_dim));
  });
}

std::vector<double> pi_factors(const RotaryGeometry& geometry, double ratio) {
  require_usable(geometry);
  require_positive("ratio", ratio);
  return std::vector<double>(geometry.pairs(), ratio);
}

std::vector<double> ntk_factors(const RotaryGeometry& geometry, double ratio) {
  require_usable(geometry);
  require_positive("ratio", ratio);
  return lambda_by_pair(geometry.pairs(), [&](double pair) {
    return std::pow(ratio, 2.0 * pair / (static_cast<double>(geometry.rotary_dim) - 2.0));
  });
}

CorrectionRange yarn_correction_range(const RotaryGeometry& geometry, const YarnOptions& options) {
  require_usable(geometry);
  require_positive("beta_fast", options.beta_fast);
  require_positive("beta_slow", options.beta_slow);
  const auto dim = static_cast<double>(geometry.rotary_dim);
  const auto length = static_cast<double>(geometry.original_length);
  const auto pair_of_rotations = [&](double rotations) {
    return dim * std::log(length / (rotations * kTwoPi)) / (2.0 * std::log(geometry.rope_theta));
  };
  double low = pair_of_rotations(options.beta_fast);
  double high = pair_of_rotations(options.beta_slow);
  if (options.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  return {.low = std::max(low, 0.0), .high = std::min(high, dim - 1.0)};
}

std::vector<double> yarn_factors(const RotaryGeometry& geometry, double ratio, const YarnOptions& options) {
  require_positive("ratio", ratio);
  const YarnRamp ramp(geometry, options);
  // lerp is exact at both ends and for ratio 1, where the sum of two products is not.
  return lambda_by_pair(geometry.pairs(), [&](double pair) { return 1.0 / std::lerp(1.0, 1.0 / ratio, ramp(pair)); });
}

std::vector<double> arithmetic_ramp_factors(const RotaryGeometry& geometry, double ratio, const YarnOptions& options) {
  require_positive("ratio", ratio);
  const YarnRamp ramp(geometry, options);
  return lambda_by_pair(geometry.pairs(), [&](double pair) { return std::lerp(1.0, ratio, ramp(pair)); });
}

double dynamic_ntk_base(const RotaryGeometry& geometry, double factor, std::int64_t length) {
  require_usable(geometry);
  require_positive("factor", factor);
  const auto ratio =
      static_cast<double>(std::max(length, geometry.original_length)) / static_cast<double>(geometry.original_length);
  // As 1 + factor·(ratio − 1), which is exactly 1 up to the original length, whatever the factor.
  return geometry.rope_theta * std::pow(1.0 + factor * (ratio - 1.0), ntk_exponent(geometry));
}

std::vector<double> dynamic_ntk_factors(const RotaryGeometry& geometry, double factor, std::int64_t length) {
  const double base_ratio = dynamic_ntk_base(geometry, factor, length) / geometry.rope_theta;
  return lambda_by_pair(geometry.pairs(), [&](double pair) {
    return std::pow(base_ratio, 2.0 * pair / static_cast<double>(geometry.rotary_dim));
  });
}

std::vector<double> llama3_factors(const RotaryGeometry& geometry, const Llama3Options& options) {
  require_positive("factor", options.factor);
  require_positive("low_freq_factor", options.low_freq_factor);
  if (!std::isfinite(options.high_freq_factor) || options.high_freq_factor <= options.low_freq_factor) {
    throw InputError(fmt::format("high_freq_factor must be finite and above low_freq_factor {}: {}",
                                 options.low_freq_factor, options.high_freq_factor));
  }
  const auto length = static_cast<double>(geometry.original_length);
  std::vector<double> lambda = inverse_frequencies(geometry);
  for (double& value : lambda) {
    const double period = kTwoPi / value;  // tokens
    if (period < length / options.high_freq_factor) {
      value = 1.0;
    } else if (period > length / options.low_freq_factor) {
      value = options.factor;
    } else {
      const double kept =
          (length / period - options.low_freq_factor) / (options.high_freq_factor - options.low_freq_factor);
      value = 1.0 / ((1.0 - kept) / options.factor + kept);
    }
  }
  return lambda;
}

std::vector<double> ntk_below_critical(std::size_t pairs, std::size_t critical_pair, double critical_factor) {
  require_positive("critical_factor", critical_factor);
  const auto critical = static_cast<double>(critical_pair);
  return lambda_by_pair(pairs, [&](double pair) {
    return pair < critical ? std::pow(critical_factor, pair / critical) : critical_factor;
  });
}

std::vector<double> length_dynamic_factors(const std::vector<double>& lambda, double ratio, double length_ratio) {
  if (!std::isfinite(ratio) || ratio <= 1.0) {
    throw InputError(fmt::format("ratio must be finite and above 1: {}", ratio));
  }
  require_positive("length_ratio", length_ratio);
  return lambda_by_pair(lambda.size(), [&](double pair) {
    return 1.0 + (lambda[static_cast<std::size_t>(pair)] - 1.0) * (length_ratio - 1.0) / (ratio - 1.0);
  });
}

std::int64_t critical_pair(const RotaryGeometry& geometry, std::int64_t length, double periods) {
  require_usable(geometry);
  require_positive("length", static_cast<double>(length));
  require_positive("periods", periods);
  const auto pairs = static_cast<double>(geometry.pairs());
  const double first =
      std::ceil(pairs * std::log(static_cast<double>(length) / (periods * kTwoPi)) / std::log(geometry.rope_theta));
  return static_cast<std::int64_t>(std::clamp(first, 0.0, pairs));
}

AttentionFactor attention_factor(AttentionPolicy policy, double ratio, std::int64_t original_length) {
  require_positive("ratio", ratio);
  AttentionFactor attention{.policy = policy, .value = 1.0};
  switch (policy) {
    case AttentionPolicy::kSu:
      if (original_length < 2) {
        throw InputError(fmt::format("original_length must be at least 2 tokens: {}", original_length));
      }
      if (ratio > 1.0) {
        attention.value = std::sqrt(1.0 + std::log(ratio) / std::log(static_cast<double>(original_length)));
      }
      break;
    case AttentionPolicy::kYarn:
      if (ratio > 1.0) attention.value = 0.1 * std::log(ratio) + 1.0;
      break;
    case AttentionPolicy::kNone:
      break;
    case AttentionPolicy::kValue:
      throw InputError("attention policy must have a formula: value");
  }
  return attention;
}

RescaleFactors closed_form_factors(std::string_view name, const RotaryGeometry& geometry, std::int64_t target_length,
                                   std::optional<std::int64_t> reached_length) {
  require_usable(geometry);
  const auto reached = static_cast<double>(reached_length.value_or(geometry.original_length));
  require_positive("target_length", static_cast<double>(target_length));
  require_positive("reached_length", reached);
  const double ratio = std::max(1.0, static_cast<double>(target_length) / reached);
  std::vector<double> lambda;
  AttentionPolicy policy = AttentionPolicy::kNone;
  if (name == "none") {
    lambda.assign(geometry.pairs(), 1.0);
  } else if (name == "pi") {
    lambda = pi_factors(geometry, ratio);
  } else if (name == "ntk") {
    lambda = ntk_factors(geometry, ratio);
  } else if (name == "yarn") {
    lambda = yarn_factors(geometry, ratio);
    policy = AttentionPolicy::kYarn;
  } else if (name == "ramp") {
    lambda = arithmetic_ramp_factors(geometry, ratio);
  } else if (name == "mrrope-pro") {
    lambda = mrrope_pro_factors(geometry, ratio);
  } else if (name == "bm") {
    lambda = bm_factors(geometry, ratio);
  } else if (name == "tailspline") {
    lambda = tail_spline_factors(geometry, ratio);
  } else {
    throw InputError(
        fmt::format("closed form must be none, pi, ntk, yarn, ramp, mrrope-pro, bm or tailspline: {}", name));
  }
  return exact_factors(std::move(lambda), /*n_hat=*/0, attention_factor(policy, ratio, geometry.original_length));
}

}  // namespace longrope

#include "common/rope/rescale_factors.h"

#include "common/error.h"
#include "common/sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace longrope {
namespace {

void require_usable(const FactorGrid& grid) {
  if (grid.steps_per_unit <= 0) {
    throw InputError(fmt::format("steps_per_unit must be positive: {}", grid.steps_per_unit));
  }
  constexpr double kLargestStep = std::numeric_limits<std::int32_t>::max() / 2.0;
  // Negated, so that NaN is refused as well.
  if (!(grid.upper_bound >= 1.0 && (grid.upper_bound - 1.0) * grid.steps_per_unit <= kLargestStep)) {
    throw InputError(
        fmt::format("upper_bound must be at least 1 and its grid step at most {}: {}", kLargestStep, grid.upper_bound));
  }
}

double lambda_at(std::int32_t steps_per_unit, std::int32_t step) {
  // One division, hence one rounding: the double nearest the rational, which prints as "2.79" and
  // not 2.7900000000000005.
  return (static_cast<double>(steps_per_unit) + static_cast<double>(step)) / static_cast<double>(steps_per_unit);
}

void require_on_grid(const RescaleFactors& factors, std::string_view place) {
  if (factors.steps_per_unit == 0 && factors.grid_steps.empty()) return;
  if (factors.steps_per_unit <= 0) {
    throw InputError(
        fmt::format("steps_per_unit must be positive with grid steps: {} ({})", factors.steps_per_unit, place));
  }
  if (factors.grid_steps.size() != factors.lambda.size()) {
    throw InputError(fmt::format("grid steps must number {} as lambda: {} ({})", factors.lambda.size(),
                                 factors.grid_steps.size(), place));
  }
  for (std::size_t pair = 0; pair < factors.lambda.size(); ++pair) {
    const std::int32_t step = factors.grid_steps[pair];
    if (step < 0) throw InputError(fmt::format("grid step must be >= 0: pair {} has {} ({})", pair, step, place));
    const double expected = lambda_at(factors.steps_per_unit, step);
    if (factors.lambda[pair] != expected) {
      throw InputError(fmt::format("lambda must be its grid step's {}: pair {} is {} ({})", expected, pair,
                                   factors.lambda[pair], place));
    }
  }
}

void require_attention_factor(const AttentionFactor& attention, std::string_view place) {
  if (attention.policy < AttentionPolicy::kSu || attention.policy > AttentionPolicy::kValue) {
    throw InputError(
        fmt::format("attention policy must be 0 to 3: {} ({})", static_cast<int>(attention.policy), place));
  }
  if (!std::isfinite(attention.value) || attention.value <= 0.0) {
    throw InputError(fmt::format("attention factor must be finite and positive: {} ({})", attention.value, place));
  }
  if (attention.policy == AttentionPolicy::kNone && attention.value != 1.0) {
    throw InputError(fmt::format("attention factor must be 1 under policy none: {} ({})", attention.value, place));
  }
}

}  // namespace

std::string_view to_string(AttentionPolicy policy) {
  switch (policy) {
    case AttentionPolicy::kSu:
      return "su";
    case AttentionPolicy::kYarn:
      return "yarn";
    case AttentionPolicy::kNone:
      return "none";
    case AttentionPolicy::kValue:
      return "value";
  }
  throw Error(fmt::format("unknown attention policy: {}", static_cast<int>(policy)));
}

AttentionPolicy parse_attention_policy(std::string_view text) {
  for (const auto policy :
       {AttentionPolicy::kSu, AttentionPolicy::kYarn, AttentionPolicy::kNone, AttentionPolicy::kValue}) {
    if (text == to_string(policy)) return policy;
  }
  throw InputError(fmt::format("attention policy must be su, yarn, none or value: {}", text));
}

std::int32_t FactorGrid::max_step() const {
  require_usable(*this);
  // Decimal bounds such as 2.79 come out a hair below their step (178.99999999999997).
  constexpr double kRoundingSlack = 1e-6;
  return static_cast<std::int32_t>(std::floor((upper_bound - 1.0) * steps_per_unit + kRoundingSlack));
}

double FactorGrid::lambda(std::int32_t step) const { return lambda_at(steps_per_unit, step); }

std::int32_t FactorGrid::nearest_step(double lambda) const {
  const std::int32_t last = max_step();
  if (std::isnan(lambda)) throw InputError("lambda must be a number: nan");
  return static_cast<std::int32_t>(
      std::clamp(std::round((lambda - 1.0) * steps_per_unit), 0.0, static_cast<double>(last)));
}

RescaleFactors factors_on_grid(const FactorGrid& grid, std::vector<std::int32_t> steps, std::int64_t n_hat,
                               AttentionFactor attention) {
  const std::int32_t last = grid.max_step();
  RescaleFactors factors;
  factors.lambda.reserve(steps.size());
  for (std::size_t pair = 0; pair < steps.size(); ++pair) {
    if (steps[pair] < 0 || steps[pair] > last) {
      throw InputError(fmt::format("grid step must be between 0 and {}: pair {} has {}", last, pair, steps[pair]));
    }
    factors.lambda.push_back(grid.lambda(steps[pair]));
  }
  factors.grid_steps = std::move(steps);
  factors.steps_per_unit = grid.steps_per_unit;
  factors.n_hat = n_hat;
  factors.attention = attention;
  return factors;
}

RescaleFactors round_to_grid(const FactorGrid& grid, const std::vector<double>& lambda, std::int64_t n_hat,
                             AttentionFactor attention) {
  std::vector<std::int32_t> steps;
  steps.reserve(lambda.size());
  std::int32_t highest = 0;
  for (const double value : lambda) {
    highest = std::max(highest, grid.nearest_step(value));
    steps.push_back(highest);
  }
  return factors_on_grid(grid, std::move(steps), n_hat, attention);
}

RescaleFactors exact_factors(std::vector<double> lambda, std::int64_t n_hat, AttentionFactor attention) {
  RescaleFactors factors;
  factors.lambda = std::move(lambda);
  factors.n_hat = n_hat;
  factors.attention = attention;
  return factors;
}

RescaleFactors compose(const RescaleFactors& fine_tuned, const RescaleFactors& secondary) {
  if (fine_tuned.lambda.size() != secondary.lambda.size()) {
    throw InputError(fmt::format("composed factors must have equally many lambda: {} and {}", fine_tuned.lambda.size(),
                                 secondary.lambda.size()));
  }
  std::vector<double> total(secondary.lambda.size());
  std::transform(fine_tuned.lambda.begin(), fine_tuned.lambda.end(), secondary.lambda.begin(), total.begin(),
                 [](double first, double second) { return first * second; });
  return exact_factors(std::move(total), secondary.n_hat, secondary.attention);
}

AttentionFactor compose(const AttentionFactor& own, const AttentionFactor& extension) {
  if (extension.value == 1.0) return own;
  if (own.value == 1.0) return extension;
  return {.policy = AttentionPolicy::kValue, .value = own.value * extension.value};
}

void validate(const RescaleFactors& factors, std::size_t pairs, std::string_view place) {
  if (factors.lambda.size() != pairs) {
    throw InputError(fmt::format("lambda must number {}: {} ({})", pairs, factors.lambda.size(), place));
  }
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    const double lambda = factors.lambda[pair];
    if (!std::isfinite(lambda)) {
      throw InputError(fmt::format("lambda must be finite: pair {} is {} ({})", pair, lambda, place));
    }
    if (lambda <= 0.0) {
      throw InputError(fmt::format("lambda must be positive: pair {} is {} ({})", pair, lambda, place));
    }
  }
  require_on_grid(factors, place);
  if (factors.n_hat < 0) throw InputError(fmt::format("n_hat must be >= 0: {} ({})", factors.n_hat, place));
  require_attention_factor(factors.attention, place);
}

std::vector<std::string> unusual_properties(const RescaleFactors& factors, double usual_upper_bound) {
  const std::vector<double>& lambda = factors.lambda;
  std::vector<std::string> below_one;
  std::vector<std::string> falls;
  std::vector<std::string> above_bound;
  for (std::size_t pair = 0; pair < lambda.size(); ++pair) {
    if (lambda[pair] < 1.0) below_one.push_back(fmt::format("pair {} is {}", pair, lambda[pair]));
    if (pair > 0 && lambda[pair] < lambda[pair - 1]) {
      falls.push_back(fmt::format("pair {} is {} after {}", pair, lambda[pair], lambda[pair - 1]));
    }
    if (usual_upper_bound > 0.0 && lambda[pair] > usual_upper_bound) {
      above_bound.push_back(fmt::format("pair {} is {}", pair, lambda[pair]));
    }
  }
  std::vector<std::string> sentences;
  if (!below_one.empty()) {
    sentences.push_back(fmt::format("lambda is usually at least 1: {}", fmt::join(below_one, ", ")));
  }
  if (!falls.empty()) {
    sentences.push_back(fmt::format("lambda usually does not decrease: {}", fmt::join(falls, ", ")));
  }
  if (!above_bound.empty()) {
    sentences.push_back(
        fmt::format("lambda is usually at most {}: {}", usual_upper_bound, fmt::join(above_bound, ", ")));
  }
  return sentences;
}

std::string digest(const RescaleFactors& factors) {
  Sha256 sha256;
  sha256.field("longrope factors").field(static_cast<std::int64_t>(factors.lambda.size()));
  for (const double lambda : factors.lambda) sha256.field(lambda);
  return sha256.field(factors.n_hat).field(factors.attention.value).hex();
}

}  // namespace longrope

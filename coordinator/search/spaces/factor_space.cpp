#include "coordinator/search/spaces/factor_space.h"

#include "common/error.h"
#include "coordinator/search/spaces/boundary_space.h"
#include "coordinator/search/spaces/engine_spaces.h"
#include "coordinator/search/spaces/isotonic_projection.h"
#include "coordinator/search/spaces/pair_spaces.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace longrope {
namespace {

constexpr double kPhasePerScale = 0.03;  // c_i·f_i of the pairs that rotate fast (gradient-search spec §3)
constexpr double kAttentionScale = 0.1;  // of ln m
constexpr std::string_view kAttentionName = "ln_m";
constexpr double kLargestScale = 1.0;  // c_i is at most this, however slowly a pair rotates

}  // namespace

FactorSpace::FactorSpace(SpaceSettings settings, std::vector<DiscreteRange> discrete)
    : settings_(settings), discrete_(std::move(discrete)) {
  (void)inverse_frequencies(settings_.geometry);  // refuses a geometry that no model has
  if (!std::isfinite(settings_.ratio) || settings_.ratio < 1.0) {
    throw InputError(fmt::format("ratio must be finite and at least 1: {}", settings_.ratio));
  }
  if (!std::isfinite(settings_.upper_bound) || settings_.upper_bound <= 1.0) {
    throw InputError(fmt::format("upper_bound must be finite and above 1: {}", settings_.upper_bound));
  }
}

ContinuousRange FactorSpace::attention_range() {
  return {.name = std::string(kAttentionName), .lower = -std::numbers::ln2, .upper = std::numbers::ln2};
}

ContinuousRange FactorSpace::lambda_range(std::string name) const {
  return {.name = std::move(name), .lower = 0.0, .upper = std::log(settings_.upper_bound)};
}

bool FactorSpace::admits(const std::vector<std::int64_t>& discrete) const {
  if (discrete.size() != discrete_.size()) return false;
  for (std::size_t index = 0; index < discrete.size(); ++index) {
    if (discrete[index] < discrete_[index].lower || discrete[index] > discrete_[index].upper) return false;
  }
  return in_order(discrete);
}

void FactorSpace::require_admitted(const std::vector<std::int64_t>& discrete) const {
  if (admits(discrete)) return;
  if (discrete_.empty()) throw InputError(fmt::format("the space has no discrete parameters: {}", discrete));
  std::vector<std::string> rules;
  for (const DiscreteRange& range : discrete_) {
    rules.push_back(fmt::format("{} from {} to {}", range.name, range.lower, range.upper));
  }
  throw InputError(
      fmt::format("discrete parameters must be {}, in rising order: {}", fmt::join(rules, " and "), discrete));
}

void FactorSpace::require_usable(const SpaceParameters& parameters) const {
  require_admitted(parameters.discrete);
  const std::vector<ContinuousRange> expected = ranges(parameters.discrete);
  if (parameters.continuous.size() != expected.size()) {
    throw InputError(
        fmt::format("there must be {} continuous parameters: {}", expected.size(), parameters.continuous.size()));
  }
  for (std::size_t index = 0; index < expected.size(); ++index) {
    if (!std::isfinite(parameters.continuous[index])) {
      throw InputError(fmt::format("{} must be finite: {}", expected[index].name, parameters.continuous[index]));
    }
  }
}

std::vector<ContinuousRange> FactorSpace::continuous(const std::vector<std::int64_t>& discrete) const {
  require_admitted(discrete);
  return ranges(discrete);
}

std::optional<std::size_t> FactorSpace::attention_parameter(const std::vector<std::int64_t>& discrete) const {
  const std::vector<ContinuousRange> parameters = continuous(discrete);
  const auto found = std::ranges::find(parameters, kAttentionName, &ContinuousRange::name);
  if (found == parameters.end()) return std::nullopt;
  return static_cast<std::size_t>(found - parameters.begin());
}

SpaceParameters FactorSpace::start() const { return project(closed_form()); }

SpaceFactors FactorSpace::factors(const SpaceParameters& parameters) const {
  require_usable(parameters);
  return factors_at(parameters);
}

std::vector<double> FactorSpace::chain(const SpaceParameters& parameters, const FactorGradient& gradient) const {
  require_usable(parameters);
  if (gradient.log_lambda.size() != pairs()) {
    throw InputError(
        fmt::format("gradient must have one entry for each of {} pairs: {}", pairs(), gradient.log_lambda.size()));
  }
  return chain_at(parameters, gradient);
}

std::vector<double> FactorSpace::scales(const SpaceParameters& parameters) const {
  require_usable(parameters);
  const std::vector<double> frequencies = inverse_frequencies(settings_.geometry);
  std::vector<double> squares(parameters.continuous.size(), 0.0);
  const auto add_row = [&](const FactorGradient& unit, double scale) {
    const std::vector<double> row = chain_at(parameters, unit);
    for (std::size_t index = 0; index < row.size(); ++index) squares[index] += std::pow(row[index] / scale, 2.0);
  };
  for (std::size_t pair = 0; pair < pairs(); ++pair) {
    FactorGradient unit{.log_lambda = std::vector<double>(pairs(), 0.0)};
    unit.log_lambda[pair] = 1.0;
    add_row(unit, std::min(kLargestScale, kPhasePerScale / frequencies[pair]));
  }
  add_row({.log_lambda = std::vector<double>(pairs(), 0.0), .log_attention = 1.0}, kAttentionScale);
  const std::vector<ContinuousRange> bounds = ranges(parameters.discrete);
  std::vector<double> result;
  for (std::size_t index = 0; index < squares.size(); ++index) {
    const double width = bounds[index].upper - bounds[index].lower;
    result.push_back(squares[index] > 0.0 ? 1.0 / std::sqrt(squares[index]) : width);
  }
  return result;
}

SpaceParameters FactorSpace::project(SpaceParameters parameters) const {
  require_usable(parameters);
  std::vector<double>& values = parameters.continuous;
  const std::size_t in_order = ordered(parameters.discrete);
  if (in_order > 0) {
    const std::vector<double> scale = scales(parameters);
    std::vector<double> weights;
    for (std::size_t index = 0; index < in_order; ++index) weights.push_back(1.0 / (scale[index] * scale[index]));
    const auto end = values.begin() + static_cast<std::ptrdiff_t>(in_order);
    std::ranges::copy(isotonic_projection({values.begin(), end}, weights), values.begin());
  }
  const std::vector<ContinuousRange> bounds = ranges(parameters.discrete);
  for (std::size_t index = 0; index < values.size(); ++index) {
    values[index] = std::clamp(values[index], bounds[index].lower, bounds[index].upper);
  }
  return parameters;
}

std::unique_ptr<FactorSpace> make_factor_space(std::string_view name, const SpaceSettings& settings) {
  if (name == "full") return full_space(settings);
  if (name == "theta") return theta_space(settings);
  if (name == "yarn") return yarn_space(settings);
  if (name == "llama3") return llama3_space(settings);
  if (name == "boundary") return boundary_space(settings);
  if (name == "critical") return critical_space(settings);
  throw InputError(fmt::format("space must be full, theta, yarn, llama3, boundary or critical: {}", name));
}

}  // namespace longrope

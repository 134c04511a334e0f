#include "coordinator/search/spaces/pair_spaces.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace longrope {
namespace {

class FullSpace : public FactorSpace {
 public:
  explicit FullSpace(const SpaceSettings& settings) : FactorSpace(settings, {}) {}

 private:
  std::vector<ContinuousRange> ranges(const std::vector<std::int64_t>& /*discrete*/) const override {
    std::vector<ContinuousRange> result;
    for (std::size_t pair = 0; pair < pairs(); ++pair) {
      result.push_back(lambda_range(fmt::format("ln_lambda_{}", pair)));
    }
    result.push_back(attention_range());
    return result;
  }

  std::size_t ordered(const std::vector<std::int64_t>& /*discrete*/) const override { return pairs(); }

  SpaceParameters closed_form() const override {
    SpaceParameters start;
    for (const double lambda : yarn_factors(settings().geometry, settings().ratio)) {
      start.continuous.push_back(std::log(lambda));
    }
    start.continuous.push_back(0.0);
    return start;
  }

  SpaceFactors factors_at(const SpaceParameters& parameters) const override {
    SpaceFactors result{.lambda = {}, .attention_factor = std::exp(parameters.continuous.back())};
    for (std::size_t pair = 0; pair < pairs(); ++pair) result.lambda.push_back(std::exp(parameters.continuous[pair]));
    return result;
  }

  std::vector<double> chain_at(const SpaceParameters& /*parameters*/, const FactorGradient& gradient) const override {
    std::vector<double> result = gradient.log_lambda;
    result.push_back(gradient.log_attention);
    return result;
  }
};

class CriticalSpace : public FactorSpace {
 public:
  explicit CriticalSpace(const SpaceSettings& settings)
      : FactorSpace(settings, {{.name = "critical_pair",
                                .lower = 1,
                                .upper = static_cast<std::int64_t>(settings.geometry.pairs()) - 1}}) {}

 private:
  static std::size_t critical(const std::vector<std::int64_t>& discrete) {
    return static_cast<std::size_t>(discrete.front());
  }

  std::vector<ContinuousRange> ranges(const std::vector<std::int64_t>& discrete) const override {
    std::vector<ContinuousRange> result;
    for (std::size_t pair = critical(discrete); pair < pairs(); ++pair) {
      result.push_back(lambda_range(fmt::format("ln_lambda_{}", pair)));
    }
    result.push_back(attention_range());
    return result;
  }

  std::size_t ordered(const std::vector<std::int64_t>& discrete) const override { return pairs() - critical(discrete); }

  SpaceParameters closed_form() const override {
    const std::int64_t last = discrete().front().upper;
    const std::int64_t critical =
        std::clamp(critical_pair(settings().geometry, settings().geometry.original_length), std::int64_t{1}, last);
    const std::size_t above = pairs() - static_cast<std::size_t>(critical);
    SpaceParameters start{.discrete = {critical}, .continuous = std::vector<double>(above, std::log(settings().ratio))};
    start.continuous.push_back(0.0);
    return start;
  }

  SpaceFactors factors_at(const SpaceParameters& parameters) const override {
    const std::size_t first = critical(parameters.discrete);
    SpaceFactors result{.lambda = ntk_below_critical(pairs(), first, std::exp(parameters.continuous.front())),
                        .attention_factor = std::exp(parameters.continuous.back())};
    for (std::size_t pair = first; pair < pairs(); ++pair) {
      result.lambda[pair] = std::exp(parameters.continuous[pair - first]);
    }
    return result;
  }

  std::vector<double> chain_at(const SpaceParameters& parameters, const FactorGradient& gradient) const override {
    const std::size_t first = critical(parameters.discrete);
    std::vector<double> result(gradient.log_lambda.begin() + static_cast<std::ptrdiff_t>(first),
                               gradient.log_lambda.end());
    for (std::size_t pair = 0; pair < first; ++pair) {
      result.front() += gradient.log_lambda[pair] * static_cast<double>(pair) / static_cast<double>(first);
    }
    result.push_back(gradient.log_attention);
    return result;
  }
};

}  // namespace

std::unique_ptr<FactorSpace> full_space(const SpaceSettings& settings) { return std::make_unique<FullSpace>(settings); }

std::unique_ptr<FactorSpace> critical_space(const SpaceSettings& settings) {
  return std::make_unique<CriticalSpace>(settings);
}

}  // namespace longrope

#include "coordinator/search/baselines.h"

#include <array>
#include <string_view>
#include <utility>

namespace longrope {
namespace {

constexpr std::array<std::string_view, 3> kClosedForms = {"pi", "ntk", "yarn"};

}  // namespace

std::vector<Baseline> stage_baselines(const RotaryGeometry& geometry, const RopeScaling& carried,
                                      std::int64_t target_length) {
  const auto extended = [&](std::string_view name) { return extended_factors(name, geometry, carried, target_length); };
  std::vector<Baseline> baselines = {{kUntouched, extended(kUntouched)}};
  std::vector<Baseline> without_m;
  for (const std::string_view name : kClosedForms) {
    RescaleFactors factors = extended(name);
    if (factors.attention.value != 1.0) {
      without_m.push_back({std::string(name) + "-m1", exact_factors(factors.lambda, factors.n_hat, {})});
    }
    baselines.push_back({std::string(name), std::move(factors)});
  }
  for (Baseline& baseline : without_m) baselines.push_back(std::move(baseline));
  return baselines;
}

std::optional<RescaleFactors> untouched_with_attention_of(const RescaleFactors& winner, const RotaryGeometry& geometry,
                                                          const RopeScaling& carried) {
  if (winner.n_hat != 0) return std::nullopt;
  RescaleFactors untouched = extended_factors(kUntouched, geometry, carried, carried.reached_length);
  if (carried.scaled() && untouched.lambda != carried.beyond_original.lambda) return std::nullopt;
  if (untouched.attention.value == winner.attention.value) return std::nullopt;
  untouched.attention = winner.attention;
  return untouched;
}

}  // namespace longrope

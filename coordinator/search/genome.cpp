#include "coordinator/search/genome.h"

#include "common/error.h"
#include "common/rope/closed_form_factors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>

namespace longrope {

GenomeSpace genome_space(const SearchSpace& space, double attention_value) {
  if (space.geometry.rotary_dim < 2 || space.geometry.rotary_dim % 2 != 0) {
    throw InputError(fmt::format("rotary dimension must be even and positive: {}", space.geometry.rotary_dim));
  }
  if (space.geometry.original_length < 1 || space.target_length < 1) {
    throw InputError(fmt::format("original and target length must be positive: {} and {}",
                                 space.geometry.original_length, space.target_length));
  }
  if (space.grid.steps_per_unit < 1 || !(space.grid.upper_bound >= 1.0)) {
    throw InputError(
        fmt::format("grid must have at least one step per unit and an upper bound of at least 1: {} and {}",
                    space.grid.steps_per_unit, space.grid.upper_bound));
  }
  if (space.n_hat_choices.empty()) {
    throw InputError("n_hat must name at least one choice");
  }
  for (const std::int64_t n_hat : space.n_hat_choices) {
    if (n_hat < 0) {
      throw InputError(fmt::format("n_hat must not be negative: {}", n_hat));
    }
  }
  if (space.attention_policies.empty()) {
    throw InputError("attention_policies must name at least one policy");
  }
  GenomeSpace result;
  result.pairs = space.geometry.pairs();
  result.grid = space.grid;
  result.n_hat_choices = space.n_hat_choices;
  const std::int64_t reached = space.reached_length();
  const double ratio = static_cast<double>(space.target_length) / static_cast<double>(reached);
  const RescaleFactors& base = space.scaling.beyond_original;
  if (space.scaling.scaled()) result.base_lambda = base.lambda;
  for (const AttentionPolicy policy : space.attention_policies) {
    if (policy != AttentionPolicy::kValue) {
      // Measured from the reached length su composes exactly: sqrt(ln L / ln L0) is the product of its two parts.
      const AttentionFactor extension = attention_factor(policy, ratio, reached);
      result.attention_choices.push_back(space.scaling.scaled() ? compose(base.attention, extension) : extension);
      continue;
    }
    if (!std::isfinite(attention_value) || attention_value <= 0.0) {
      throw InputError(fmt::format("attention_value must be finite and positive: {}", attention_value));
    }
    result.attention_choices.push_back({.policy = policy, .value = attention_value});
  }
  return result;
}

RescaleFactors to_factors(const Genome& genome, const GenomeSpace& space) {
  RescaleFactors secondary = factors_on_grid(space.grid, genome.steps, genome.n_hat, genome.attention);
  if (space.base_lambda.empty()) return secondary;
  return compose(exact_factors(space.base_lambda, /*n_hat=*/0, {}), secondary);
}

RescaleFactors rounded_factors(const std::vector<double>& secondary, std::int64_t n_hat,
                               const AttentionFactor& attention, const GenomeSpace& space) {
  return to_factors({.steps = round_to_grid(space.grid, secondary, n_hat, attention).grid_steps,
                     .n_hat = n_hat,
                     .attention = attention},
                    space);
}

std::vector<double> secondary_lambda(const GenomeSpace& space, std::vector<double> lambda) {
  if (!space.base_lambda.empty()) {
    std::ranges::transform(lambda, space.base_lambda, lambda.begin(), std::divides<>());
  }
  return lambda;
}

Genome nearest_genome(const GenomeSpace& space, const RescaleFactors& factors) {
  Genome genome;
  genome.steps =
      round_to_grid(space.grid, secondary_lambda(space, factors.lambda), factors.n_hat, factors.attention).grid_steps;
  genome.n_hat = *std::ranges::min_element(
      space.n_hat_choices, {}, [&factors](std::int64_t choice) { return std::abs(choice - factors.n_hat); });
  const bool listed = std::ranges::find(space.attention_choices, factors.attention) != space.attention_choices.end();
  genome.attention = listed ? factors.attention : space.attention_choices.front();
  return genome;
}

bool is_monotone(const std::vector<std::int32_t>& steps) { return std::ranges::is_sorted(steps); }

}  // namespace longrope

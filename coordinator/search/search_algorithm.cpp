#include "coordinator/search/search_algorithm.h"

#include "common/error.h"
#include "coordinator/search/gradient_search.h"
#include "coordinator/search/longrope_search.h"
#include "coordinator/search/random_search.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

namespace longrope {
namespace {

constexpr double kPaperBoundPerRatio = 1.25;  // spec §3, Table 4 of the paper

void require_at_least(std::string_view key, std::int64_t value, std::int64_t minimum) {
  if (value < minimum) {
    throw InputError(fmt::format("{} must be at least {}: {}", key, minimum, value));
  }
}

void require_probability(std::string_view key, double value, bool zero_allowed) {
  if (!(value >= 0.0 && value <= 1.0) || (value == 0.0 && !zero_allowed)) {
    throw InputError(
        fmt::format("{} must be {} and at most 1: {}", key, zero_allowed ? "at least 0" : "above 0", value));
  }
}

void check_genetic(const SearchConfig& config) {
  require_at_least("population_size", config.population_size, 1);
  require_at_least("num_mutations", config.num_mutations, 0);
  require_at_least("num_crossovers", config.num_crossovers, 0);
  require_at_least("num_mutations + num_crossovers", config.num_mutations + config.num_crossovers, 1);
  require_at_least("num_iterations", config.num_iterations, 0);
  require_at_least("max_crossover_tries", config.max_crossover_tries, 0);
  require_probability("mutation_probability", config.mutation_probability, false);
  require_probability("block_move_probability", config.block_move_probability, true);
  if (config.block_move_probability > 0.0 &&
      !(std::isfinite(config.block_move_sigma) && config.block_move_sigma > 0.0)) {
    throw InputError(fmt::format("block_move_sigma must be finite and positive: {}", config.block_move_sigma));
  }
  if (!config.generational) {
    require_at_least("lag", config.lag, 1);
  }
}

/// What the released code cannot do is refused: a baseline with other operators would be a baseline in name only.
void check_authors(const SearchConfig& config, const SearchSpace& space) {
  require_probability("crossover_probability", config.crossover_probability, false);
  const auto require = [](bool condition, std::string_view rule, const auto& value) {
    if (!condition) throw InputError(fmt::format("{} with method \"authors\": {}", rule, value));
  };
  std::vector<std::string_view> policies;
  for (const AttentionPolicy policy : space.attention_policies) policies.push_back(to_string(policy));
  const bool ramp = config.seeds == SearchConfig{}.seeds || config.seeds == std::vector<std::string>{"ramp"};
  require(config.generational, "generational must be true", config.generational);
  require(config.num_parents <= config.population_size,
          fmt::format("num_parents must be at most the population_size {}", config.population_size),
          config.num_parents);
  require(config.block_move_probability == 0.0, "block_move_probability must be 0", config.block_move_probability);
  require(space.n_hat_choices == std::vector<std::int64_t>{0}, "n_hat must be 0", space.n_hat_choices);
  require(space.attention_policies == std::vector{AttentionPolicy::kSu}, "attention_policies must be [\"su\"]",
          policies);
  require(ramp, "seeds must be [\"ramp\"] or absent", config.seeds);
  require(space.published_seeds.size() <= 1, "seed_files must name at most one file", space.published_seeds.size());
}

void check_gradient(const SearchConfig& config, const SearchSpace& space) {
  require_at_least("batch", config.batch, 1);
  if (!(std::isfinite(config.step_size) && config.step_size > 0.0)) {
    throw InputError(fmt::format("step_size must be finite and positive: {}", config.step_size));
  }
  if (space.n_hat_choices != std::vector<std::int64_t>{0}) {
    throw InputError(
        fmt::format("n_hat must be 0 with method \"gradient\", because it has no gradient: {}", space.n_hat_choices));
  }
  const bool is_total = config.space == "theta" || config.space == "yarn" || config.space == "llama3";
  if (is_total && space.scaling.scaled()) {
    throw InputError(
        fmt::format("space must be full, boundary or critical on a model that carries rope scaling, which "
                    "the others would replace: {}",
                    config.space));
  }
}

}  // namespace

std::int64_t SearchSpace::reached_length() const {
  return scaling.scaled() ? scaling.reached_length : geometry.original_length;
}

FactorGrid search_grid(const SearchConfig& config, double ratio) {
  if (!std::isfinite(ratio) || ratio <= 0.0) {
    throw InputError(fmt::format("extension ratio must be finite and positive: {}", ratio));
  }
  require_at_least("steps_per_unit", config.steps_per_unit, 1);
  const bool one_plus_ratio = config.upper_bound_one_plus_ratio || config.method == SearchMethod::kAuthors;
  const double by_rule = one_plus_ratio ? 1.0 + ratio : kPaperBoundPerRatio * ratio;
  const FactorGrid grid{.steps_per_unit = config.steps_per_unit, .upper_bound = config.upper_bound.value_or(by_rule)};
  const double steps = (grid.upper_bound - 1.0) * static_cast<double>(grid.steps_per_unit);
  // Refuses NaN too. Not the exact step count: max_step() rounds, and needs room to do so.
  if (!(steps >= 0.0 && steps < static_cast<double>(std::numeric_limits<std::int32_t>::max() - 1))) {
    throw InputError(
        fmt::format("upper_bound must be at least 1 and within 2^31 grid steps: {} at extension ratio {}, "
                    "steps_per_unit {}",
                    grid.upper_bound, ratio, grid.steps_per_unit));
  }
  return grid;
}

std::size_t planned_candidates(const SearchConfig& config, const SearchSpace& space, const SearchResources& resources) {
  if (config.method != SearchMethod::kGradient) return default_budget(config);
  return GradientSearch(config, space, resources, /*seed=*/0, "").phases().candidates();
}

std::size_t default_budget(const SearchConfig& config) {
  return static_cast<std::size_t>(config.population_size +
                                  config.num_iterations * (config.num_mutations + config.num_crossovers));
}

std::unique_ptr<SearchAlgorithm> make_search_algorithm(const SearchConfig& config, const SearchSpace& space,
                                                       const SearchResources& resources, std::uint64_t seed,
                                                       std::string stage) {
  require_at_least("num_parents", config.num_parents, 1);
  switch (config.method) {
    case SearchMethod::kAuthors:
      check_authors(config, space);
      [[fallthrough]];
    case SearchMethod::kLongrope:
      check_genetic(config);
      return std::make_unique<LongropeSearch>(config, space, seed, std::move(stage));
    case SearchMethod::kRandom:
      return std::make_unique<RandomSearch>(config, space, seed, std::move(stage));
    case SearchMethod::kGradient:
      check_gradient(config, space);
      return std::make_unique<GradientSearch>(config, space, resources, seed, stage);
  }
  throw InputError(
      fmt::format("search method must be longrope, authors, random or gradient: {}", static_cast<int>(config.method)));
}

}  // namespace longrope

#pragma once

#include "coordinator/search/search_algorithm.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace longrope {

/// A search space as a coordinator would build it; the defaults are LLaMA2's geometry at 4× its length.
inline SearchSpace synthetic_space(const SearchConfig& config, std::int64_t rotary_dim = 128,
                                   std::int64_t target_length = 16384) {
  SearchSpace space;
  space.geometry = {.rotary_dim = rotary_dim, .rope_theta = 10000.0, .original_length = 4096};
  space.target_length = target_length;
  space.grid = search_grid(config, static_cast<double>(target_length) / 4096.0);
  space.n_hat_choices = config.n_hat_choices;
  space.attention_policies = config.attention_policies;
  return space;
}

/// Llama 3.1 at 4× the length that its rope scaling reaches.
inline SearchSpace scaled_space(const SearchConfig& config) {
  constexpr std::int64_t kReached = 131072;
  SearchSpace space = synthetic_space(config, 128, 4 * kReached);
  space.geometry = {.rotary_dim = 128, .rope_theta = 500000.0, .original_length = 8192};
  const RescaleFactors own = exact_factors(llama3_factors(space.geometry), 0, {});
  space.scaling = {.type = "llama3", .up_to_original = own, .beyond_original = own, .reached_length = kReached};
  space.grid = search_grid(config, 4.0);
  return space;
}

using Fitness = std::function<double(const RescaleFactors&)>;

/// A quadratic in ln λ with its optimum at a curve that is none of the seeds.
inline double quadratic_fitness(const RescaleFactors& factors) {
  const auto pairs = static_cast<double>(factors.lambda.size());
  double sum = 0.0;
  for (std::size_t pair = 0; pair < factors.lambda.size(); ++pair) {
    const double optimum = 1.0 + 3.2 * std::pow(static_cast<double>(pair) / pairs, 2.0);
    const double error = std::log(factors.lambda[pair] / optimum);
    sum += error * error;
  }
  return 2.0 + sum / pairs;
}

struct Trace {
  std::vector<Candidate> candidates;
  std::vector<double> results;  // of every candidate
};

/// Asks up to `budget` candidates, telling before each exactly what the algorithm needs. Ends early at nullopt.
inline Trace run_search(SearchAlgorithm& algorithm, std::size_t budget, const Fitness& fitness = quadratic_fitness) {
  Trace trace;
  std::size_t told = 0;
  for (std::size_t k = 0; k < budget; ++k) {
    for (; told < algorithm.results_needed(k); ++told) {
      algorithm.tell(told, {.mean_nll = trace.results.at(told)});
    }
    std::optional<Candidate> candidate = algorithm.ask(k);
    if (!candidate) {
      break;
    }
    trace.results.push_back(fitness(candidate->factors));
    trace.candidates.push_back(std::move(*candidate));
  }
  return trace;
}

inline Trace run_search(const SearchConfig& config, std::size_t budget, const Fitness& fitness = quadratic_fitness,
                        std::uint64_t seed = 1) {
  return run_search(*make_search_algorithm(config, synthetic_space(config), {}, seed, "stage"), budget, fitness);
}

inline std::vector<RescaleFactors> factors_of(const Trace& trace) {
  std::vector<RescaleFactors> factors;
  for (const Candidate& candidate : trace.candidates) {
    factors.push_back(candidate.factors);
  }
  return factors;
}

}  // namespace longrope

#include "coordinator/search/seeds.h"

#include "common/rope/closed_form_factors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

namespace longrope {
namespace {

bool never_falls(const std::vector<double>& lambda, double tolerance) {
  const auto falls = [tolerance](double left, double right) { return right < left * (1.0 - tolerance); };
  return std::ranges::adjacent_find(lambda, falls) == lambda.end();
}

}  // namespace

std::vector<Seed> make_seeds(const std::vector<std::string>& names, const SearchSpace& search_space,
                             const GenomeSpace& genome_space) {
  std::vector<Seed> seeds;
  std::set<std::string> digests;
  const auto add = [&](std::string origin, RescaleFactors factors) {
    if (digests.insert(digest(factors)).second) {
      seeds.push_back({.origin = std::move(origin), .factors = std::move(factors)});
    }
  };
  const auto steps_on_grid = [&](const std::vector<double>& lambda) {
    return round_to_grid(genome_space.grid, lambda, /*n_hat=*/0, {}).grid_steps;
  };
  // The paper names no n̂ for its seeds: 0 where it is a choice, else the closest to it.
  const std::int64_t n_hat = *std::ranges::min_element(genome_space.n_hat_choices);
  for (const std::string& name : names) {
    const RescaleFactors extension =
        closed_form_factors(name, search_space.geometry, search_space.target_length, search_space.reached_length());
    for (const AttentionFactor& attention : genome_space.attention_choices) {
      add("seed:" + name,
          to_factors({.steps = steps_on_grid(extension.lambda), .n_hat = n_hat, .attention = attention}, genome_space));
    }
  }
  // Published arrays have seven digits: their quotients with a base differ in the last along one plateau.
  const double tolerance = genome_space.base_lambda.empty() ? 0.0 : 1e-6;
  for (std::size_t index = 0; index < search_space.published_seeds.size(); ++index) {
    const RescaleFactors& published = search_space.published_seeds[index];
    const std::string origin = fmt::format("seed:published:{}", index + 1);
    validate(published, genome_space.pairs, origin);
    const std::vector<double> secondary = secondary_lambda(genome_space, published.lambda);
    add(origin,
        never_falls(secondary, tolerance)
            ? published
            : to_factors(
                  {.steps = steps_on_grid(secondary), .n_hat = published.n_hat, .attention = published.attention},
                  genome_space));
  }
  return seeds;
}

}  // namespace longrope

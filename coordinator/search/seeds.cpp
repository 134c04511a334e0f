#include "coordinator/search/seeds.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

#include "common/closed_form_factors.h"

namespace longrope {

std::vector<Seed> make_seeds(const std::vector<std::string>& names, const SearchSpace& search_space,
                             const GenomeSpace& genome_space) {
  std::vector<Seed> seeds;
  std::set<std::string> digests;
  const auto add = [&](std::string origin, RescaleFactors factors) {
    if (digests.insert(digest(factors)).second) {
      seeds.push_back({.origin = std::move(origin), .factors = std::move(factors)});
    }
  };
  // The paper names no n̂ for its seeds: 0 where it is a choice, else the closest to it.
  const std::int64_t n_hat = *std::ranges::min_element(genome_space.n_hat_choices);
  for (const std::string& name : names) {
    const RescaleFactors closed_form = closed_form_factors(name, search_space.geometry, search_space.target_length);
    for (const AttentionFactor& attention : genome_space.attention_choices) {
      add("seed:" + name, round_to_grid(genome_space.grid, closed_form.lambda, n_hat, attention));
    }
  }
  for (std::size_t index = 0; index < search_space.published_seeds.size(); ++index) {
    const RescaleFactors& published = search_space.published_seeds[index];
    const std::string origin = fmt::format("seed:published:{}", index + 1);
    validate(published, genome_space.pairs, origin);
    add(origin, is_non_decreasing(published.lambda)
                    ? published
                    : round_to_grid(genome_space.grid, published.lambda, published.n_hat, published.attention));
  }
  return seeds;
}

}  // namespace longrope

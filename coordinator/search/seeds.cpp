#include "coordinator/search/seeds.h"

#include "common/rope/closed_form_factors.h"
#include "coordinator/search/seed_list.h"

#include <fmt/format.h>

namespace longrope {

std::vector<Seed> make_seeds(const std::vector<std::string>& names, const SearchSpace& search_space,
                             const GenomeSpace& genome_space) {
  SeedList list(genome_space);
  for (const std::string& name : names) {
    const RescaleFactors extension =
        closed_form_factors(name, search_space.geometry, search_space.target_length, search_space.reached_length());
    for (const AttentionFactor& attention : genome_space.attention_choices) {
      list.add_rounded("seed:" + name, extension.lambda, list.smallest_n_hat(), attention);
    }
  }
  for (std::size_t index = 0; index < search_space.published_seeds.size(); ++index) {
    list.add_published(fmt::format("seed:published:{}", index + 1), search_space.published_seeds[index]);
  }
  return list.seeds();
}

}  // namespace longrope

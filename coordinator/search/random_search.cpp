#include "coordinator/search/random_search.h"

#include "common/random_stream.h"

#include <algorithm>
#include <utility>

namespace longrope {
namespace {

// Redraws until a factor set is new; only a space of few factor sets needs more than one.
constexpr int kMaxDraws = 10000;

Genome draw(const GenomeSpace& space, RandomStream& random) {
  Genome genome;
  const std::int32_t max_step = space.grid.max_step();
  genome.steps.reserve(space.pairs);
  for (std::size_t pair = 0; pair < space.pairs; ++pair) {
    genome.steps.push_back(static_cast<std::int32_t>(random.between(0, max_step)));
  }
  std::ranges::sort(genome.steps);
  genome.n_hat = space.n_hat_choices[random.below(space.n_hat_choices.size())];
  genome.attention = space.attention_choices[random.below(space.attention_choices.size())];
  return genome;
}

}  // namespace

RandomSearch::RandomSearch(const SearchConfig& config, const SearchSpace& space, std::uint64_t seed, std::string stage)
    : space_(genome_space(space, config.attention_value)),
      seed_(seed),
      stage_(std::move(stage)),
      seeds_(make_seeds(config.seeds, space, space_)),
      history_(static_cast<std::size_t>(config.num_parents)) {}

std::optional<Candidate> RandomSearch::ask(std::size_t k) {
  history_.expect_ask(k, results_needed(k));
  std::optional<Candidate> candidate = propose(k);
  if (candidate) {
    history_.record(candidate->factors);
  }
  return candidate;
}

std::optional<Candidate> RandomSearch::propose(std::size_t k) const {
  if (k < seeds_.size()) {
    return Candidate{.factors = seeds_[k].factors, .origin = seeds_[k].origin, .parents = {}};
  }
  RandomStream random(seed_, stage_, k);
  for (int attempt = 0; attempt < kMaxDraws; ++attempt) {
    RescaleFactors factors = to_factors(draw(space_, random), space_);
    if (history_.is_new(factors)) {
      return Candidate{.factors = std::move(factors), .origin = "random", .parents = {}};
    }
  }
  return std::nullopt;
}

}  // namespace longrope

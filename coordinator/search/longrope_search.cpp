#include "coordinator/search/longrope_search.h"

#include "common/error.h"
#include "coordinator/search/monotone_crossover.h"

#include <algorithm>
#include <utility>

namespace longrope {
namespace {

constexpr std::string_view kReleasedSeed = "ramp";

std::vector<Seed> initial_seeds(const SearchConfig& config, const SearchSpace& space, const GenomeSpace& genomes) {
  if (config.method != SearchMethod::kAuthors) {
    return make_seeds(config.seeds, space, genomes);
  }
  if (space.published_seeds.empty()) {
    return make_seeds({std::string(kReleasedSeed)}, space, genomes);
  }
  // The released `--init-factors`: the array replaces the ramp and runs, like every candidate there, under "su".
  std::vector<Seed> seeds = make_seeds({}, space, genomes);
  for (Seed& seed : seeds) {
    seed.factors.attention = genomes.attention_choices.front();
  }
  return seeds;
}

MutationOptions mutation_options(const SearchConfig& config) {
  return {.probability = config.mutation_probability,
          .first_pair_excludes_right = config.method == SearchMethod::kAuthors,
          .block_move_probability = config.block_move_probability,
          .block_move_sigma = config.block_move_sigma};
}

}  // namespace

LongropeSearch::LongropeSearch(const SearchConfig& config, const SearchSpace& space, std::uint64_t seed,
                               std::string stage)
    : config_(config),
      space_(genome_space(space, config.attention_value)),
      mutation_(mutation_options(config)),
      seed_(seed),
      stage_(std::move(stage)),
      seeds_(initial_seeds(config, space, space_)),
      initial_population_(std::max(static_cast<std::size_t>(config.population_size), seeds_.size())),
      history_(static_cast<std::size_t>(config.num_parents)) {
  if (seeds_.empty()) {
    throw InputError("a genetic search needs at least one seed: seeds and seed_files are empty");
  }
}

std::size_t LongropeSearch::mutations_per_iteration() const { return static_cast<std::size_t>(config_.num_mutations); }

std::size_t LongropeSearch::candidates_per_iteration() const {
  return static_cast<std::size_t>(config_.num_mutations + config_.num_crossovers);
}

std::size_t LongropeSearch::results_needed(std::size_t k) const {
  if (k < initial_population_) {
    return 0;
  }
  if (config_.generational) {
    const std::size_t iteration = (k - initial_population_) / candidates_per_iteration();
    return initial_population_ + iteration * candidates_per_iteration();
  }
  // A lag longer than the initial population leaves the first bred candidates without results: they mutate seeds.
  const auto lag = static_cast<std::size_t>(config_.lag);
  return k + 1 > lag ? k + 1 - lag : 0;
}

std::optional<Candidate> LongropeSearch::ask(std::size_t k) {
  history_.expect_ask(k, results_needed(k));
  RandomStream random(seed_, stage_, k);
  std::optional<Candidate> candidate = propose(k, random);
  if (candidate) {
    history_.record(candidate->factors);
  }
  return candidate;
}

std::optional<Candidate> LongropeSearch::propose(std::size_t k, RandomStream& random) const {
  if (k < seeds_.size()) {
    return Candidate{.factors = seeds_[k].factors, .origin = seeds_[k].origin, .parents = {}};
  }
  const std::vector<std::size_t>& best = history_.best();
  if (k < initial_population_ || best.empty()) {
    return mutant_of(random.below(seeds_.size()), random);
  }
  const bool is_mutation = (k - initial_population_) % candidates_per_iteration() < mutations_per_iteration();
  if (is_mutation || best.size() < 2) {
    return mutant_of(best[random.below(best.size())], random);
  }
  return crossover_of_best(k, random);
}

std::optional<Candidate> LongropeSearch::mutant_of(std::size_t parent, RandomStream& random) const {
  const IsNew is_new = [this](const Genome& genome) { return history_.is_new(to_factors(genome, space_)); };
  const std::optional<Mutant> mutant = mutate(genome_of(parent), space_, mutation_, is_new, random);
  if (!mutant) {
    return std::nullopt;
  }
  return Candidate{
      .factors = to_factors(mutant->genome, space_), .origin = std::string(mutant->origin), .parents = {parent}};
}

std::optional<Candidate> LongropeSearch::crossover_of_best(std::size_t k, RandomStream& random) const {
  const std::vector<std::size_t>& best = history_.best();
  const std::uint64_t one = random.below(best.size());
  std::uint64_t other = random.below(best.size() - 1);
  if (other >= one) {
    ++other;
  }
  // The better parent is the first, as released.
  const std::size_t first = best[std::min(one, other)];
  const std::size_t second = best[std::max(one, other)];
  const IsNew is_new = [this](const Genome& genome) { return history_.is_new(to_factors(genome, space_)); };
  const std::optional<Offspring> child =
      config_.method == SearchMethod::kAuthors
          ? released_crossover(genome_of(first), genome_of(second), config_.crossover_probability,
                               config_.max_crossover_tries, is_new, random)
          : crossover(genome_of(first), genome_of(second),
                      k % 2 == 0 ? CrossoverStrategy::kUniform : CrossoverStrategy::kTwoPoint,
                      config_.max_crossover_tries, is_new, random);
  if (!child) {
    std::optional<Candidate> mutant = mutant_of(first, random);
    if (mutant) {
      mutant->origin = "crossover:" + mutant->origin;
    }
    return mutant;
  }
  return Candidate{
      .factors = to_factors(child->genome, space_), .origin = std::string(child->origin), .parents = {first, second}};
}

}  // namespace longrope

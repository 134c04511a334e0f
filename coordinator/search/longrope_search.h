#pragma once

#include "common/random_stream.h"
#include "coordinator/search/genome.h"
#include "coordinator/search/monotone_mutation.h"
#include "coordinator/search/proposal_history.h"
#include "coordinator/search/search_algorithm.h"
#include "coordinator/search/seeds.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// The genetic algorithm of the LongRoPE paper (spec §4, docs/search.md): method "longrope"; and, with the operators of
/// the released code, method "authors". Candidates 0 … max(P, seeds) − 1 are the seeds and mutants of random seeds;
/// from there on each N1 mutants and N2 crossovers of random parents in the top-k of everything told. Only candidates
/// with a finite result become parents; while there is none, seeds are mutated.
class LongropeSearch final : public SearchAlgorithm {
 public:
  /// `config` must have passed make_search_algorithm's checks.
  LongropeSearch(const SearchConfig& config, const SearchSpace& space, std::uint64_t seed, std::string stage);

  /// Generational: all candidates of the generations before k's. Steady state: candidates <= k − lag, none while the
  /// initial population is asked.
  [[nodiscard]] std::size_t results_needed(std::size_t k) const override;
  [[nodiscard]] std::optional<Candidate> ask(std::size_t k) override;
  void tell(std::size_t k, const CandidateResult& result) override { history_.tell(k, result.mean_nll); }

 private:
  [[nodiscard]] std::optional<Candidate> propose(std::size_t k, RandomStream& random) const;
  [[nodiscard]] std::optional<Candidate> mutant_of(std::size_t parent, RandomStream& random) const;
  [[nodiscard]] std::optional<Candidate> crossover_of_best(std::size_t k, RandomStream& random) const;
  [[nodiscard]] Genome genome_of(std::size_t k) const { return nearest_genome(space_, history_.factors(k)); }
  [[nodiscard]] std::size_t mutations_per_iteration() const;
  [[nodiscard]] std::size_t candidates_per_iteration() const;

  SearchConfig config_;
  GenomeSpace space_;
  MutationOptions mutation_;
  std::uint64_t seed_;
  std::string stage_;
  std::vector<Seed> seeds_;  // at least one
  std::size_t initial_population_;
  ProposalHistory history_;
};

}  // namespace longrope

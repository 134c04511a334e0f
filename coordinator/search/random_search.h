#pragma once

#include "coordinator/search/genome.h"
#include "coordinator/search/proposal_history.h"
#include "coordinator/search/search_algorithm.h"
#include "coordinator/search/seeds.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// Baseline: the seeds, then independent random factors. λ is a sorted sample: one grid step per pair, uniform over the
/// grid, in ascending order; n̂ and attention factor are uniform over their choices. Results are not used.
class RandomSearch final : public SearchAlgorithm {
 public:
  RandomSearch(const SearchConfig& config, const SearchSpace& space, std::uint64_t seed, std::string stage);

  [[nodiscard]] std::size_t results_needed(std::size_t /*k*/) const override { return 0; }
  [[nodiscard]] std::optional<Candidate> ask(std::size_t k) override;
  void tell(std::size_t k, const CandidateResult& result) override { history_.tell(k, result.mean_nll); }

 private:
  [[nodiscard]] std::optional<Candidate> propose(std::size_t k) const;

  GenomeSpace space_;
  std::uint64_t seed_;
  std::string stage_;
  std::vector<Seed> seeds_;  // may be empty
  ProposalHistory history_;
};

}  // namespace longrope

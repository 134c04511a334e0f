#pragma once

#include "common/rope/rescale_factors.h"

#include <cstddef>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// What a search has proposed and been told, the rules of SearchAlgorithm's order of calls, and the top-k.
/// Not thread-safe.
class ProposalHistory {
 public:
  /// `num_parents`: k of top-k.
  explicit ProposalHistory(std::size_t num_parents) : num_parents_(num_parents) {}

  /// Throws std::logic_error unless `k` is the next candidate and exactly `results_needed` results have been told.
  void expect_ask(std::size_t k, std::size_t results_needed) const;

  /// False when the same evaluation (digest: λ, n̂, value of the attention factor) was proposed before.
  [[nodiscard]] bool is_new(const RescaleFactors& factors) const { return !digests_.contains(digest(factors)); }

  /// Candidate size(). Throws std::logic_error when it is not new.
  void record(const RescaleFactors& factors);

  /// Throws std::logic_error unless `k` is proposed and the next to be told, and `mean_nll` is not NaN.
  void tell(std::size_t k, double mean_nll);

  [[nodiscard]] std::size_t size() const { return proposals_.size(); }
  [[nodiscard]] const RescaleFactors& factors(std::size_t k) const { return proposals_.at(k); }

  /// Indices of the best told candidates with a finite result, best first, ties by index; at most `num_parents`.
  [[nodiscard]] const std::vector<std::size_t>& best() const { return best_; }

 private:
  std::size_t num_parents_;
  std::vector<RescaleFactors> proposals_;
  std::set<std::string> digests_;
  std::vector<double> told_;  // mean NLL of candidates 0, 1, …
  std::vector<std::size_t> best_;
};

}  // namespace longrope

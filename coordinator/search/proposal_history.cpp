#include "coordinator/search/proposal_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace longrope {

void ProposalHistory::expect_ask(std::size_t k, std::size_t results_needed) const {
  if (k != proposals_.size()) {
    throw std::logic_error(fmt::format("candidates are asked in order: {} instead of {}", k, proposals_.size()));
  }
  if (told_.size() != results_needed) {
    throw std::logic_error(
        fmt::format("candidate {} is bred from exactly {} results: {} were told", k, results_needed, told_.size()));
  }
}

void ProposalHistory::record(const RescaleFactors& factors) {
  if (!digests_.insert(digest(factors)).second) {
    throw std::logic_error(fmt::format("no candidate is proposed twice: candidate {}", proposals_.size()));
  }
  proposals_.push_back(factors);
}

void ProposalHistory::tell(std::size_t k, double mean_nll) {
  if (k != told_.size() || k >= proposals_.size()) {
    throw std::logic_error(fmt::format("results are told in order, of {} proposed candidates: {} instead of {}",
                                       proposals_.size(), k, told_.size()));
  }
  if (std::isnan(mean_nll)) {
    throw std::logic_error(fmt::format("mean NLL must not be nan: candidate {}", k));
  }
  told_.push_back(mean_nll);
  if (!std::isfinite(mean_nll)) {
    return;
  }
  // Inserted behind equal results, so that on a tie the earlier candidate stays ahead.
  const auto place = std::ranges::upper_bound(best_, mean_nll, {}, [this](std::size_t index) { return told_[index]; });
  best_.insert(place, k);
  if (best_.size() > num_parents_) {
    best_.pop_back();
  }
}

}  // namespace longrope

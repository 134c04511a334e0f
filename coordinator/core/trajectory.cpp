#include "coordinator/core/trajectory.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace longrope {

Trajectory::Trajectory(std::unique_ptr<SearchAlgorithm> algorithm, StopConfig stop, std::size_t budget,
                       std::size_t max_open)
    : algorithm_(std::move(algorithm)),
      stop_(stop),
      budget_(budget),
      max_open_(max_open),
      improvement_reference_(std::numeric_limits<double>::infinity()) {
  if (budget_ == 0 || max_open_ == 0) throw std::logic_error("a trajectory needs a budget and room for one candidate");
}

std::optional<Candidate> Trajectory::next() {
  if (end_ || exhausted_ || asked_ >= budget_ || asked_ - accepted_ >= max_open_) return std::nullopt;
  const std::size_t needed = algorithm_->results_needed(asked_);
  if (needed > accepted_) return std::nullopt;
  while (told_ < needed) {
    algorithm_->tell(told_, results_.at(told_));
    ++told_;
  }
  std::optional<Candidate> candidate = algorithm_->ask(asked_);
  if (candidate) {
    ++asked_;
  } else {
    exhausted_ = true;
    if (accepted_ == asked_) finish(StageEnd::kExhausted, "no new candidate could be found");
  }
  return candidate;
}

void Trajectory::give(std::size_t k, CandidateResult result) {
  if (k >= asked_ || !results_.emplace(k, std::move(result)).second) {
    throw std::logic_error("result of a candidate that was not asked or is known: " + std::to_string(k));
  }
  while (!end_ && results_.contains(accepted_)) accept_next();
}

void Trajectory::accept_next() {
  const std::size_t k = accepted_++;
  const double mean_nll = results_.at(k).mean_nll;
  // The reference moves only by more than δ, so that many small steps together still count as improvement.
  const bool improved = std::isfinite(mean_nll) &&
                        (!std::isfinite(improvement_reference_) ||
                         improvement_reference_ - mean_nll > stop_.min_relative_improvement * improvement_reference_);
  if (improved) {
    improvement_reference_ = mean_nll;
    last_improvement_ = accepted_;
  }
  if (accepted_ >= budget_) {
    finish(StageEnd::kBudget, "all " + std::to_string(budget_) + " candidates of the budget told");
  } else if (stop_.patience && accepted_ - last_improvement_ >= static_cast<std::size_t>(*stop_.patience)) {
    std::ostringstream detail;
    detail << "no relative improvement above " << stop_.min_relative_improvement << " in the last " << *stop_.patience
           << " candidates (" << accepted_ << " told)";
    finish(StageEnd::kConverged, detail.str());
  } else if (exhausted_ && accepted_ == asked_) {
    finish(StageEnd::kExhausted, "no new candidate could be found");
  }
}

void Trajectory::stop_for_time() {
  if (end_) return;
  const long long seconds = stop_.time_limit ? static_cast<long long>(stop_.time_limit->count()) : 0;
  finish(StageEnd::kTimeLimit,
         "time limit of " + std::to_string(seconds) + " s reached with " + std::to_string(accepted_) + " told");
}

void Trajectory::finish(StageEnd end, std::string detail) {
  end_ = end;
  end_detail_ = std::move(detail);
}

}  // namespace longrope

#pragma once

#include "config/config.h"
#include "coordinator/core/records.h"
#include "coordinator/search/search_algorithm.h"

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace longrope {

/// Drives one search algorithm in its fixed order of calls, whatever order results arrive in, and applies the written
/// stop rules to the candidates in index order: the part of a stage that makes its course independent of the workers.
/// Pure: no clock, no I/O. Not thread-safe.
class Trajectory {
 public:
  /// `budget` candidates at most. At most `max_open` are asked beyond the accepted ones, so that little is thrown away
  /// when a stop rule holds.
  Trajectory(std::unique_ptr<SearchAlgorithm> algorithm, StopConfig stop, std::size_t budget, std::size_t max_open);

  /// The next candidate (its index is `asked()` before the call), or nullopt if the algorithm waits for results, the
  /// search has ended, or nothing new can be found.
  [[nodiscard]] std::optional<Candidate> next();

  /// The result of candidate k, in any order; a mean NLL of infinity for a quarantined one. Accepts it and its waiting
  /// successors in index order until a stop rule holds. Throws std::logic_error for a candidate not asked or already
  /// given.
  void give(std::size_t k, CandidateResult result);

  /// Ends the search where it stands.
  void stop_for_time();

  [[nodiscard]] std::size_t asked() const { return asked_; }
  /// Candidates 0 … accepted() − 1 count; later ones, though asked and perhaps scored, are as if they had never been.
  [[nodiscard]] std::size_t accepted() const { return accepted_; }
  [[nodiscard]] std::optional<StageEnd> end() const { return end_; }
  /// The stop rule that ended the search, with its numbers; empty before.
  [[nodiscard]] const std::string& end_detail() const { return end_detail_; }

 private:
  void accept_next();
  void finish(StageEnd end, std::string detail);

  std::unique_ptr<SearchAlgorithm> algorithm_;
  StopConfig stop_;
  std::size_t budget_;
  std::size_t max_open_;
  std::map<std::size_t, CandidateResult> results_;
  std::size_t asked_ = 0;
  std::size_t told_ = 0;      // to the algorithm
  std::size_t accepted_ = 0;  // by the stop rules; told_ <= accepted_
  bool exhausted_ = false;
  std::size_t last_improvement_ = 0;  // accepted candidates when the best last improved by more than δ
  double improvement_reference_ = 0.0;
  std::optional<StageEnd> end_;
  std::string end_detail_;
};

}  // namespace longrope

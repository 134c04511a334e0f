#pragma once

#include "config/config.h"
#include "coordinator/coordinator.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// A stage of a run that is not over, and what it computes at most (StageCost).
struct OutlinedStage {
  std::string name;
  std::size_t number = 0;   // 1-based, among all stages of the run
  std::int64_t passes = 0;  // forward passes; samples of a fine-tuning
  double operations = 0.0;  // FLOP
};

/// The stages of a run, as far as its display needs them.
struct RunOutline {
  std::size_t stages = 0;               // of the run, those that are over included
  std::vector<OutlinedStage> not_over;  // in order
};

/// The outline of a run whose stages `over` are over; theirs are not looked at, because their documents may be gone.
/// Throws InputError as plan_run().
[[nodiscard]] RunOutline outline_run(const Config& config, const std::set<std::string>& over);

/// When a search, and the run that it is a stage of, will be done: the documents that are left at the rate at which
/// documents were scored in the stage. The rate begins when every worker has brought a result, because loading the
/// model is no scoring, and then covers the later half of the results, at least four of each worker: workers come and
/// go, and so does what else the machines do. Pure; not thread-safe.
class SearchEstimate {
 public:
  /// Takes the numbers of progress() at a time of the monotonic clock.
  void observe(const SearchProgress& progress, std::chrono::milliseconds now);

  /// Documents per second; nullopt while too few are scored.
  [[nodiscard]] std::optional<double> rate() const;
  /// Seconds until the stage is finished: at most so many when a stop rule may end it earlier.
  [[nodiscard]] std::optional<double> seconds_left() const;
  /// Seconds until all stages of the run are over: later ones by their FLOP, at the rate of this one; nullopt also when
  /// no stage follows.
  [[nodiscard]] std::optional<double> seconds_left(const RunOutline& run) const;

 private:
  struct Sample {
    std::chrono::milliseconds time{0};
    std::int64_t scored = 0;
  };

  SearchProgress progress_;
  std::int64_t scored_before_ = 0;  // evaluations_scored when the stage began
  std::optional<Sample> begun_;     // when every worker had brought a result
  std::deque<Sample> samples_;      // each with more results than the one before; the first begins the rate
};

}  // namespace longrope

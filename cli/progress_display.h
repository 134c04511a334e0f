#pragma once

#include "cli/live_line.h"
#include "cli/search_estimate.h"
#include "common/clock.h"
#include "common/wait_notice.h"
#include "coordinator/coordinator.h"

#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace longrope {

/// What the live line says about a search that is a stage of `run`.
[[nodiscard]] LineParts progress_parts(const SearchProgress& progress, const SearchEstimate& estimate,
                                       const RunOutline& run);

/// Live progress of a search on standard output, and messages on standard error. Not thread-safe.
class ProgressDisplay {
 public:
  /// `run`: the stages of which the search is one; empty: its own alone.
  explicit ProgressDisplay(RunOutline run = {}) : run_(std::move(run)) {}

  /// Says `hint` after five seconds without a connected worker, and then once a minute; by default nothing.
  void hint_without_workers(std::string hint) { hint_ = std::move(hint); }

  void show(const SearchProgress& progress, const Now& now = read_clocks());
  /// Prints `text` on a line of its own, with a time stamp, on standard error.
  void say(const std::string& text);
  void finish() { line_.finish(); }  // what is printed next stands below the line

  /// Callbacks for a coordinator that show here what it reports. This display must outlive the coordinator.
  [[nodiscard]] Coordinator::Reports reports();

 private:
  RunOutline run_;
  SearchEstimate estimate_;
  LiveLine line_{STDOUT_FILENO};
  std::optional<std::pair<std::string, StageState>> last_;  // stage and state that were shown
  std::string hint_;
  WaitNotice nobody_;
};

}  // namespace longrope

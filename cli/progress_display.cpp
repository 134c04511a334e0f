#include "cli/progress_display.h"

#include "common/duration.h"
#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iostream>

namespace longrope {
namespace {

std::string position(const SearchProgress& progress, const RunOutline& run) {
  const auto found = std::ranges::find(run.not_over, progress.stage, &OutlinedStage::name);
  const std::string name = printable_text(progress.stage);
  if (run.stages < 2 || found == run.not_over.end()) return fmt::format("stage {}", name);
  return fmt::format("stage {} ({} of {})", name, found->number, run.stages);
}

std::string done(const SearchProgress& progress) {
  switch (progress.stage_state) {
    case StageState::kPending:
      return "waiting";
    case StageState::kSearching:
      return fmt::format("{}/{} candidates", progress.told, progress.budget);
    case StageState::kChoosing:
      return fmt::format("choosing, {}/{} documents", progress.judging_evaluations - progress.judging_left,
                         progress.judging_evaluations);
    case StageState::kFinished:
      return fmt::format("finished, {} candidates", progress.told);
  }
  return "";
}

}  // namespace

LineParts progress_parts(const SearchProgress& progress, const SearchEstimate& estimate, const RunOutline& run) {
  LineParts parts = {fmt::format("{}: {}", position(progress, run), done(progress))};
  const bool searching = progress.stage_state == StageState::kSearching;
  if (const auto left = estimate.seconds_left(); left && progress.stage_state != StageState::kFinished) {
    const char* const bound = searching && progress.may_end_early ? "at most " : "";
    parts.push_back(fmt::format("{}{} left", bound, duration_text(*left)));
  }
  if (const auto left = estimate.seconds_left(run)) {
    parts.push_back(fmt::format("about {} for all stages", duration_text(*left)));
  }
  if (progress.best_mean_nll) {
    parts.push_back(fmt::format("best {:.4f} (candidate {})", std::exp(*progress.best_mean_nll),
                                progress.best_candidate.value_or(0)));
  }
  if (const auto rate = estimate.rate()) parts.push_back(fmt::format("{:.2f} documents/s", *rate));
  parts.push_back(fmt::format("{} worker{}", progress.workers_ready, progress.workers_ready == 1 ? "" : "s"));
  return parts;
}

void ProgressDisplay::show(const SearchProgress& progress, const Now& now) {
  estimate_.observe(progress, now.steady);
  const bool waiting = !hint_.empty() && progress.workers_connected == 0;
  if (nobody_.due(waiting && progress.stage_state != StageState::kFinished, now.steady)) say(hint_);
  const std::pair state(progress.stage, progress.stage_state);
  line_.show(progress_parts(progress, estimate_, run_), state != last_, now);
  last_ = state;
}

void ProgressDisplay::say(const std::string& text) {
  line_.clear();
  std::cerr << time_stamp(read_clocks().unix_milliseconds) << ' ' << text << std::endl;
}

Coordinator::Reports ProgressDisplay::reports() {
  return {.progress = [this](const SearchProgress& progress) { show(progress); },
          .warning = [this](const std::string& text) { say("longrope: " + text); }};
}

}  // namespace longrope

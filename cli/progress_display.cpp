#include "cli/progress_display.h"

#include "common/duration.h"

#include <fmt/format.h>

#include <unistd.h>

#include <cmath>
#include <iostream>

namespace longrope {
namespace {

constexpr std::chrono::milliseconds kTerminalInterval{250};
constexpr std::chrono::seconds kPlainInterval{10};

const char* describe(StageState state) {
  switch (state) {
    case StageState::kPending:
      return "waiting";
    case StageState::kSearching:
      return "searching";
    case StageState::kChoosing:
      return "choosing on held-out documents";
    case StageState::kFinished:
      return "finished";
  }
  return "unknown";
}

}  // namespace

ProgressDisplay::ProgressDisplay() : terminal_(isatty(STDOUT_FILENO) == 1), begun_(std::chrono::steady_clock::now()) {}

std::string ProgressDisplay::line(const SearchProgress& progress) const {
  std::string text = fmt::format("stage {} {}: {}/{} candidates told", progress.stage, describe(progress.stage_state),
                                 progress.told, progress.budget);
  if (progress.best_mean_nll) {
    text += fmt::format(", best {:.4f} (candidate {})", std::exp(*progress.best_mean_nll), *progress.best_candidate);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
  if (progress.evaluations_scored > 0) {
    const double rate = static_cast<double>(progress.evaluations_scored) / seconds;
    text += fmt::format(", {:.2f} documents/s", rate);
    // The budget is an upper bound: the stage may converge before.
    if (progress.documents_left > 0) {
      text += fmt::format(", at most {} left", duration_text(static_cast<double>(progress.documents_left) / rate));
    }
  }
  return text + fmt::format(", {} worker{}", progress.workers_ready, progress.workers_ready == 1 ? "" : "s");
}

void ProgressDisplay::show(const SearchProgress& progress) {
  const auto now = std::chrono::steady_clock::now();
  const std::string state = fmt::format("{}{}", progress.stage, static_cast<int>(progress.stage_state));
  const bool state_changed = state != last_;
  if (terminal_) {
    if (!state_changed && now - shown_ < kTerminalInterval) return;
    std::cout << "\r\033[K" << line(progress) << std::flush;
    line_open_ = true;
  } else {
    if (!state_changed && now - shown_ < kPlainInterval) return;
    std::cout << line(progress) << std::endl;
  }
  last_ = state;
  shown_ = now;
}

void ProgressDisplay::say(const std::string& text) {
  finish();
  std::cerr << text << std::endl;
}

Coordinator::Reports ProgressDisplay::reports() {
  return {.progress = [this](const SearchProgress& progress) { show(progress); },
          .warning = [this](const std::string& text) { say("longrope: " + text); }};
}

void ProgressDisplay::finish() {
  if (line_open_) std::cout << std::endl;
  line_open_ = false;
}

}  // namespace longrope

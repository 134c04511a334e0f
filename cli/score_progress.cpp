#include "cli/score_progress.h"

#include "common/duration.h"

#include <fmt/format.h>

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <iostream>
#include <mutex>
#include <string>

namespace longrope {
namespace {

constexpr std::chrono::milliseconds kTerminalInterval{250};
constexpr std::chrono::milliseconds kPlainInterval{10'000};  // shorter runs print nothing

std::string line(std::int64_t done, std::int64_t total, double seconds) {
  std::string text = fmt::format("scoring: {} % in {}", 100 * done / total, duration_text(seconds));
  if (done > 0) {
    text += ", " + duration_text(seconds * static_cast<double>(total - done) / static_cast<double>(done)) + " left";
  }
  return text;
}

void show(const std::stop_token& stop, const std::atomic<std::int64_t>& done, std::int64_t total) {
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const auto begun = std::chrono::steady_clock::now();
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  bool shown = false;
  while (!stopped.wait_for(lock, stop, terminal ? kTerminalInterval : kPlainInterval,
                           [&] { return stop.stop_requested(); })) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    const std::string text = line(done.load(std::memory_order_relaxed), total, seconds);
    std::cerr << (terminal ? "\r\033[K" + text : text + "\n") << std::flush;
    shown = true;
  }
  if (terminal && shown) std::cerr << "\r\033[K" << std::flush;
}

}  // namespace

ScoreProgress::ScoreProgress(const std::atomic<std::int64_t>& done, std::int64_t total)
    : thread_([&done, total](const std::stop_token& stop) { show(stop, done, total); }) {}

}  // namespace longrope

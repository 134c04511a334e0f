#include "cli/score_progress.h"

#include "cli/live_line.h"
#include "common/duration.h"

#include <fmt/format.h>

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>

namespace longrope {
namespace {

LineParts line(std::int64_t done, std::int64_t total, double seconds) {
  LineParts parts = {fmt::format("scoring: {} % in {}", 100 * done / total, duration_text(seconds))};
  if (done > 0) {
    parts.push_back(duration_text(seconds * static_cast<double>(total - done) / static_cast<double>(done)) + " left");
  }
  return parts;
}

void show(const std::stop_token& stop, const std::atomic<std::int64_t>& done, std::int64_t total) {
  const auto begun = std::chrono::steady_clock::now();
  LiveLine live(STDERR_FILENO);
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  // Runs that are shorter than the interval show nothing.
  while (!stopped.wait_for(lock, stop, live.interval(), [&] { return stop.stop_requested(); })) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    live.show(line(done.load(std::memory_order_relaxed), total, seconds), /*at_once=*/true);
  }
  live.clear();
}

}  // namespace

ScoreProgress::ScoreProgress(const std::atomic<std::int64_t>& done, std::int64_t total)
    : thread_([&done, total](const std::stop_token& stop) { show(stop, done, total); }) {}

}  // namespace longrope

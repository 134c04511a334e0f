#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace longrope {

/// Shows on standard error, from construction to destruction, how much of the scoring is done and how long the rest
/// will take: on a terminal one line that is rewritten, elsewhere a line every ten seconds. Reads `done` in a thread of
/// its own; `done` must outlive this.
class ScoreProgress {
 public:
  /// `total`: what `done` will have reached at the end (PerplexityScorer::expected_progress), at least 1.
  ScoreProgress(const std::atomic<std::int64_t>& done, std::int64_t total);

 private:
  std::jthread thread_;
};

}  // namespace longrope

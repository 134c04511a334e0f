#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace longrope {

/// Shows on standard error how far scoring is and how long it will take, from construction to destruction: one line
/// that is rewritten on a terminal, else a line every ten seconds of a run that lasts. Reads `done` in a thread of its
/// own; `done` must outlive this.
class ScoreProgress {
 public:
  /// `total`: what `done` will have risen to (PerplexityScorer::expected_progress), at least 1.
  ScoreProgress(const std::atomic<std::int64_t>& done, std::int64_t total);

 private:
  std::jthread thread_;
};

}  // namespace longrope

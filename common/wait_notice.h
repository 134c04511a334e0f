#pragma once

#include <chrono>
#include <optional>

namespace longrope {

/// Decides when a person is told that something is still waited for: after five seconds, because most waits are shorter
/// than that, and then once a minute, so that a log of a night stays readable. Time is handed in. Not thread-safe.
class WaitNotice {
 public:
  static constexpr std::chrono::seconds kFirst{5};
  static constexpr std::chrono::seconds kAgain{60};

  /// To be called every second or so. `waiting`: whether it is waited for now; false ends a wait, and the next one
  /// begins anew. Returns how long the wait has lasted when it is time to say so, otherwise nullopt.
  [[nodiscard]] std::optional<std::chrono::milliseconds> due(bool waiting, std::chrono::milliseconds now);

 private:
  std::optional<std::chrono::milliseconds> since_;  // when the wait began; nullopt: no wait
  std::chrono::milliseconds next_{0};               // when it is mentioned next
};

}  // namespace longrope

#pragma once

#include <atomic>

namespace longrope {

/// Set by the first SIGINT or SIGTERM once stop_on_signals() was called; blocking calls are interrupted.
[[nodiscard]] const std::atomic<bool>& stop_requested();
void stop_on_signals();

}  // namespace longrope

#pragma once

#include <atomic>

namespace longrope {

/// Whether SIGINT or SIGTERM has arrived since stop_on_signals() was called.
[[nodiscard]] const std::atomic<bool>& stop_requested();
/// Makes SIGINT and SIGTERM set stop_requested() instead of ending the process. Blocking system calls are interrupted.
void stop_on_signals();

}  // namespace longrope

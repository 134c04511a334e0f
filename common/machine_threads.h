#pragma once

#include <cstdint>

namespace longrope {

/// CPU threads that this process may use at once, at least 1: all of the machine, or those that its affinity allows.
[[nodiscard]] std::int64_t machine_threads();

}  // namespace longrope

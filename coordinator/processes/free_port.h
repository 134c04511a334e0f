#pragma once

#include <cstdint>

namespace longrope {

/// A TCP port of 127.0.0.1 that nobody uses now; another process may take it before the caller does. Throws Error when
/// there is none.
[[nodiscard]] std::uint16_t free_loopback_port();

}  // namespace longrope

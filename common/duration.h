#pragma once

#include <string>

namespace longrope {

/// "1:05" or, from an hour on, "2:01:05".
[[nodiscard]] std::string duration_text(double seconds);

}  // namespace longrope

#pragma once

#include <string>

namespace longrope {

/// Minutes and seconds, "1:05", and from an hour on with hours, "2:01:05"; rounded to whole seconds.
[[nodiscard]] std::string duration_text(double seconds);

}  // namespace longrope

#pragma once

#include <string>
#include <string_view>

namespace longrope {

/// `text` between quotation marks, with each of its own doubled (RFC 4180).
[[nodiscard]] std::string csv_field(std::string_view text);

}  // namespace longrope

#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <string_view>

namespace longrope {

/// Parses JSON that came from a file or a peer. Throws InputError naming `place` for anything but one JSON value:
/// syntax errors (with line and column), nesting deeper than `max_depth`, a key used twice in one object, numbers
/// outside double's range. The caller limits the size of `text`. Thread-safe.
[[nodiscard]] nlohmann::json parse_strict_json(std::string_view text, std::string_view place,
                                               std::size_t max_depth = 16);

}  // namespace longrope

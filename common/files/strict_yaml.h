#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace longrope {

/// Parses YAML that came from a user's file into the JSON it stands for: of the plain scalars those that JSON knows are
/// numbers, true, false and null (also "~" and nothing), all others are text, as are all quoted ones.
/// Throws InputError naming `place` for anything but one document of that: syntax errors (with line and column),
/// nesting deeper than 16 levels, a key used twice in one mapping or that is no scalar, aliases and tags (neither is
/// needed, and aliases make small files large), directives. Every line that begins with '%' counts as a directive, also
/// one inside a scalar, where YAML would allow it. The caller limits the size of `text`. Thread-safe.
[[nodiscard]] nlohmann::json parse_strict_yaml(std::string_view text, const std::string& place);

}  // namespace longrope

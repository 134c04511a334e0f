#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace longrope {

/// Parses YAML that came from a user's file into the JSON it stands for. A plain scalar that is a number, true, false
/// or null in JSON is that value; "~" and an empty one are null; all other scalars, and all quoted ones, are text.
/// Throws InputError naming `place`, line and column for syntax errors, more than one document, nesting deeper than 16
/// levels, a key that appears twice in a mapping or is not a scalar, tags, aliases (which make small files large), and
/// directives. Every line that begins with '%' counts as a directive, even inside a scalar, where YAML would allow it.
/// The caller limits the size of `text`. Thread-safe.
[[nodiscard]] nlohmann::json parse_strict_yaml(std::string_view text, const std::string& place);

}  // namespace longrope

#pragma once

#include <span>
#include <string>
#include <string_view>

namespace longrope {

/// "; did you mean target_length?" for a word that is nearly one of `known` (by its edit distance), to end the message
/// that refuses it; empty when none is near. Thread-safe.
[[nodiscard]] std::string suggestion(std::string_view unknown, std::span<const std::string_view> known);

}  // namespace longrope

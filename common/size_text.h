#pragma once

#include <cstdint>
#include <string>

namespace longrope {

/// Which way size_text() rounds. A need is rounded up and what is available down: the two then never read the same when
/// one exceeds the other.
enum class SizeRounding { kNearest, kUp, kDown };

/// An amount of memory for people, with one decimal: "482.5 GiB", "8.0 MiB" below one GiB, "24.0 KiB" below one MiB.
[[nodiscard]] std::string size_text(std::int64_t bytes, SizeRounding rounding = SizeRounding::kNearest);

/// A number with commas between groups of three digits: "65,536".
[[nodiscard]] std::string grouped_digits(std::int64_t number);

}  // namespace longrope

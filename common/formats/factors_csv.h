#pragma once

#include "common/rope/rescale_factors.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace longrope {

/// The authors' CSV as text: one factor per line, or one comma-separated row per layer, all equal (spec §8.8).
/// No header, no comments, no blank lines but at the end; a UTF-8 byte order mark is skipped. Throws InputError naming
/// `place` and line.
[[nodiscard]] RescaleFactors parse_factors_csv(std::string_view text, std::string_view place);

/// One λ per line, or `rows` equal comma-separated rows, one for each layer; shortest decimals that read back
/// bit-exactly. Throws InputError for less than 1 row, for more than 16 MiB of them, and for rows of one factor, which
/// would read back as lines.
[[nodiscard]] std::string format_factors_csv(const RescaleFactors& factors,
                                             std::optional<std::int64_t> rows = std::nullopt);

}  // namespace longrope

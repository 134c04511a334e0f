#pragma once

#include "common/files/json_object.h"

#include <cstdint>
#include <optional>

namespace longrope {

// Far above any published model; they keep every product of two of them within 64 bits.
inline constexpr std::int64_t kMaxWidth = std::int64_t{1} << 20;
inline constexpr std::int64_t kMaxHeads = 1024;
inline constexpr std::int64_t kMaxHeadDim = 1024;

/// Channels of one attention head as config.json says it: head_dim, else the default of the architecture that it names,
/// else hidden_size / num_attention_heads. nullopt for a part of a config that has none of these.
/// Throws InputError for what is not even and between 2 and kMaxHeadDim, and for a division with a remainder.
[[nodiscard]] std::optional<std::int64_t> read_head_dim(const JsonObject& config);

}  // namespace longrope

#pragma once

#include <cstdint>

namespace longrope {

// Sizes of the blocks that the worker computes in. The memory estimate (worker/model/memory_estimate.h) counts with
// them.

/// Columns of one panel of a packed matrix (cpu_kernels.h).
inline constexpr std::int64_t kPanelColumns = 16;

[[nodiscard]] constexpr std::int64_t panels(std::int64_t columns) {
  return (columns + kPanelColumns - 1) / kPanelColumns;
}

/// Tokens of one task of attention: whole blocks of every kernel, for 1, 2 or 4 query heads whole passes over the keys.
/// Tiles shrink by as many when memory is short.
inline constexpr std::int64_t kAttentionPieceTokens = 192;

/// Rows and columns of one tile of logits. It takes 12 MiB of float32 and stays in cache between product and sums.
inline constexpr std::int64_t kLogitTileRows = 768;
inline constexpr std::int64_t kLogitTileColumns = 4096;

}  // namespace longrope

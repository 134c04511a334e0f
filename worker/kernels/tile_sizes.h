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

/// Tokens of one task of attention: whole blocks of every kernel, for up to three query heads one pass over the keys.
/// Tiles shrink by as many when memory is short.
inline constexpr std::int64_t kAttentionPieceTokens = 192;

/// Tokens that go through a layer at once, when memory allows.
inline constexpr std::int64_t kHostTileTokens = 6 * kAttentionPieceTokens;
inline constexpr std::int64_t kDeviceTileTokens = 8192;  // a CUDA device is busy with no less
/// What a tile shrinks to on a CUDA device, by halves, when memory is short.
inline constexpr std::int64_t kSmallestDeviceTile = 512;

/// One tile of logits.
struct LogitTileSize {
  std::int64_t rows;
  std::int64_t columns;
};
/// 12 MiB of float32: it stays in cache between product and sums.
inline constexpr LogitTileSize kHostLogitTile = {768, 4096};
inline constexpr LogitTileSize kDeviceLogitTile = {8192, 8192};

}  // namespace longrope

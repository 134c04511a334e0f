#pragma once

#include "common/model/model_description.h"

#include <cstdint>

namespace longrope {

/// Where the weights lie between documents.
enum class WeightSource : std::uint8_t {
  kReady,   // as they are computed with
  kMemory,  // as they were read: each layer is made ready again for each document
  kFiles,   // in the checkpoint's files: each layer is read again for each document
};

/// How a worker holds a model and one document; see worker/model/transformer.h.
struct MemoryLayout {
  std::int64_t weight_bytes = 4;      // bytes of one weight as it was read
  std::int64_t arithmetic_bytes = 4;  // bytes of one number that is computed with
  std::int64_t product_bytes = 4;     // bytes of one number that products multiply: weights, keys, values
  WeightSource weights = WeightSource::kMemory;
  std::int64_t tile_tokens = 1152;  // tokens that go through a layer at once
  std::int64_t candidates = 1;      // candidates that go through the document at once
};

/// Bytes that scoring a document takes beyond the process itself (libraries, files that are mapped), by part.
struct MemoryEstimate {
  std::int64_t weights = 0;  // kept between documents; 0 when they stay in files
  std::int64_t layer = 0;    // one layer as it is computed with, if not all are, and, from files, as it was read
  std::int64_t per_token =
      0;                    // one row of the residual stream, one layer's keys and values, 16 bytes of id and position
  std::int64_t tile = 0;    // buffers of one tile
  std::int64_t output = 0;  // after the layers, when their memory is free: part of the lm_head and its logits
  std::int64_t tokens = 0;  // number of tokens, not bytes: those of all candidates

  /// The peak: while the layers run or while the logits are computed.
  [[nodiscard]] std::int64_t total() const;
};

[[nodiscard]] MemoryEstimate estimate_memory(const ModelDescription& model, const MemoryLayout& layout,
                                             std::int64_t tokens);

/// Positions whose cos and sin are kept for all layers of a document; those beyond are computed for each tile of each
/// layer, which beside attention over so many keys takes no time.
inline constexpr std::int64_t kRotaryRowsKept = 65'536;

/// `wanted`, changed until its estimate stays within `budget` bytes: weights are kept ready, else as they were read,
/// else not at all, whatever first leaves half of it for a document; then there are fewer candidates at once, then
/// tiles become smaller, down to kAttentionPieceTokens (worker/kernels/tile_sizes.h). Throws MemoryError naming the
/// need, the budget and the longest length that fits when even the smallest layout exceeds the budget.
[[nodiscard]] MemoryLayout fit_memory(const ModelDescription& model, MemoryLayout wanted, std::int64_t tokens,
                                      std::int64_t budget);

/// Tokens of the longest document that fit_memory() would not refuse, at most 2^31; 0 when none fits.
[[nodiscard]] std::int64_t longest_length(const ModelDescription& model, const MemoryLayout& wanted,
                                          std::int64_t budget);

/// Bytes that this process may still allocate: the machine's available memory, or less where a control group limits it.
[[nodiscard]] std::int64_t available_memory();

}  // namespace longrope

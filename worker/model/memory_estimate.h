#pragma once

#include "common/model/model_description.h"
#include "worker/kernels/tile_sizes.h"

#include <cstdint>
#include <limits>
#include <optional>

namespace longrope {

/// Where the weights lie between documents.
enum class WeightSource : std::uint8_t {
  kReady,   // as they are computed with
  kMemory,  // in host memory as they were read: each layer is made ready, or sent to the device, for each document
  kFiles,   // in the checkpoint's files: each layer is read again for each document
};

/// How a worker holds a model and one document; see worker/model/transformer.h.
/// What the forward pass of a gradient keeps for the backward pass, which computes the rest again.
struct KeptForGradient {
  std::int64_t layers_between = 1;  // the input of every so many layers
  bool attention = true;            // the result of every layer's attention; only with every layer's input
};

struct MemoryLayout {
  std::int64_t weight_bytes = 4;      // bytes of one weight as it was read
  std::int64_t arithmetic_bytes = 4;  // bytes of one number that is computed with
  std::int64_t product_bytes = 4;     // bytes of one number that products multiply: weights, keys, values
  WeightSource weights = WeightSource::kMemory;
  std::int64_t tile_tokens = kHostTileTokens;  // tokens that go through a layer at once
  std::int64_t candidates = 1;                 // candidates that go through the document at once
  std::optional<KeptForGradient> gradient;     // nullopt: only the forward pass
  // On a CUDA device: Torch's kernels lay nothing out in panels and need buffers of their own.
  bool on_device = false;
  std::int64_t host_budget = std::numeric_limits<std::int64_t>::max();  // bytes of the host, with `on_device`
};

/// What a worker on a CUDA device would like, with `bytes` of each number: 2 for bf16, 4 for fp32.
[[nodiscard]] constexpr MemoryLayout device_layout(std::int64_t bytes) {
  return {.weight_bytes = bytes,
          .arithmetic_bytes = bytes,
          .product_bytes = bytes,
          .tile_tokens = kDeviceTileTokens,
          .on_device = true};
}

/// Bytes that scoring a document takes beyond the process itself (libraries, files that are mapped), by part: of the
/// host, or with `on_device` of the device.
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

/// Layers that lie on a device at once when their weights come from host memory (layer_stream.h): two ahead of the one
/// in use.
inline constexpr std::int64_t kStreamedLayers = 3;

/// `wanted`, changed until its estimate stays within `budget` bytes: weights are kept ready, else as they were read,
/// else not at all, whatever first leaves half of it for a document; then there are fewer candidates at once, then for
/// gradients less is kept, down to the inputs of about the square root of the layers, then tiles become smaller,
/// down to kAttentionPieceTokens or kSmallestDeviceTile (worker/kernels/tile_sizes.h). On a device, weights that do not
/// fit it lie in half of the host's budget at most, else in their files. Throws MemoryError naming the need, the budget
/// and the longest length that fits when even the smallest layout exceeds the budget.
[[nodiscard]] MemoryLayout fit_memory(const ModelDescription& model, MemoryLayout wanted, std::int64_t tokens,
                                      std::int64_t budget);

/// Tokens of the longest document that fit_memory() would not refuse, at most 2^31; 0 when none fits.
[[nodiscard]] std::int64_t longest_length(const ModelDescription& model, const MemoryLayout& wanted,
                                          std::int64_t budget);

/// Bytes that this process may still allocate: the machine's available memory, or less where a control group limits it.
[[nodiscard]] std::int64_t available_memory();

}  // namespace longrope

#pragma once

#include "worker/model/transformer.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace longrope {

// What transformer.cpp and transformer_gradient.cpp keep while a document goes through the layers.

/// FLOPs of the matrix product that writes `out`.
inline double operations(const at::Tensor& in, const at::Tensor& out) {
  return 2.0 * static_cast<double>(in.numel()) * static_cast<double>(out.size(1));
}

/// FLOPs of attention, over all heads, of `count` queries from position `begin` on over at most `window` keys (0: all).
inline double attention_operations(const ModelDescription& model, std::int64_t begin, std::int64_t count,
                                   std::int64_t window) {
  std::int64_t keys = 0;
  for (std::int64_t position = begin; position < begin + count; ++position) {
    keys += window > 0 ? std::min(position + 1, window) : position + 1;
  }
  return 4.0 * static_cast<double>(keys) * static_cast<double>(model.query_width());
}

/// The state of one candidate on its way through the layers.
struct Transformer::Stream {
  const RotaryFrequencies& frequencies;
  RotaryRows rotary;    // of the first kRotaryRowsKept positions
  at::Tensor residual;  // [tokens, hidden]
  KeyValueCache cache;

  /// The rotation of positions [begin, begin + count).
  [[nodiscard]] RotaryRows rows(std::int64_t begin, std::int64_t count) const {
    return begin + count <= kRotaryRowsKept ? rows_of(rotary, begin, count)
                                            : rotary_rows(frequencies, begin, count, residual.device());
  }
};

/// What the gradient of a layer's attention needs of its forward pass, for all tokens; undefined where it was not kept.
struct Transformer::AttentionResult {
  AttentionResult() = default;
  AttentionResult(const ModelDescription& model, std::int64_t tokens, const at::TensorOptions& options)
      : attended(at::empty({tokens, model.query_width()}, options)),
        log_sums(at::empty({tokens, model.query_heads}, options)) {}

  at::Tensor attended;  // [tokens, H·head_dim]
  at::Tensor log_sums;  // [tokens, H]
};

/// Buffers of one tile, allocated once for a document: fresh pages for every tile would cost as much as the arithmetic.
struct Transformer::Tile {
  Tile(const ModelDescription& model, std::int64_t tokens, bool shared, const at::TensorOptions& options);

  /// Views of the first rows.
  [[nodiscard]] Tile first(std::int64_t count) const;

  at::Tensor normed;     // [n, hidden]
  at::Tensor projected;  // [n, (H + 2K)·head_dim]
  at::Tensor attended;   // [n, H·head_dim]
  at::Tensor gate_up;    // [n, 2·intermediate]
  at::Tensor gated;      // [n, intermediate]
  at::Tensor unrotated;  // `projected` of layer 0 for the next candidate; [0, ·] when there is but one
  // Undefined but for gradients: queries and keys before their norm [n, (H + K)·head_dim], and what attend() says.
  at::Tensor unnormed;
  at::Tensor log_sums;  // [n, H]
};

}  // namespace longrope

#pragma once

// Body of CpuKernels::attend_backward; see cpu_kernels.h for what it computes.
//
// With P = softmax(scale·Q·Kᵀ) and Δ = rowsum(dO∘O): dV = Pᵀ·dO, dS = scale·P∘(dO·Vᵀ − Δ), dK = dSᵀ·Q, dQ = dS·K (the
// backward pass of FlashAttention-2). P comes from the logarithms of the forward pass, block by block, with keys as
// rows and queries as columns: of the five products only the last needs a transposed operand.

#include "worker/kernels/flash_attention.h"
#include "worker/kernels/key_value_layout.h"

#include <limits>

namespace longrope {

inline constexpr std::int64_t kKeyTile = 96;      // keys whose scores with a block of queries exist at once
inline constexpr std::int64_t kQueryBlock = 256;  // columns of one block of scores

/// Rows of numbers as operands along the head_dim: [rows][stride].
template <typename Arithmetic>
struct PackedRows {
  using Operand = typename Arithmetic::Operand;
  PackedRows(const ConstRows& rows, std::int64_t head_dim)
      : stride(panels(head_dim) * kPanelColumns / Arithmetic::kNumbers), operands(rows.rows * stride) {
    for (std::int64_t row = 0; row < rows.rows; ++row) {
      Arithmetic::pack(rows.data + row * rows.stride, head_dim, operands.data() + row * stride);
    }
  }
  std::int64_t stride;
  Scratch<Arithmetic, Operand> operands;
};

/// The same rows as the right-hand side of products: along the head_dim, as keys lie, and along the rows, as values do.
template <typename Arithmetic>
struct PackedPanels {
  using Operand = typename Arithmetic::Operand;
  PackedPanels(const ConstRows& rows, std::int64_t head_dim)
      : along_head_dim(key_operands(Arithmetic::kType, rows.rows, head_dim)),
        // Whole panels of rows, as the columns of scores that they multiply.
        along_rows(value_operands(Arithmetic::kType, panels(rows.rows) * kPanelColumns, head_dim)) {
    store_keys<Arithmetic>({rows, 0, head_dim, along_head_dim.data()});
    store_values<Arithmetic>({rows, 0, head_dim, along_rows.data()});
  }
  Scratch<Arithmetic, Operand> along_head_dim;
  Scratch<Arithmetic, Operand> along_rows;
};

/// One query head on its way through all keys.
template <typename Arithmetic>
class HeadGradient {
 public:
  using Operand = typename Arithmetic::Operand;
  using Panel = typename Arithmetic::Panel;
  static constexpr std::int64_t kWeights = kQueryBlock / Arithmetic::kNumbers;  // operands of one row of a block
  static constexpr std::int64_t kTileOperands = kKeyTile / Arithmetic::kNumbers;

  HeadGradient(const AttentionGradient& gradient, std::int64_t head)
      : gradient_(gradient),
        channel_(head * gradient.head_dim),
        queries_(head_rows(gradient.query), gradient.head_dim),
        out_gradients_(head_rows(gradient.out_gradient), gradient.head_dim),
        logarithms_(panels(tokens()) * kPanelColumns),
        deltas_(panels(tokens()) * kPanelColumns) {
    for (std::int64_t row = 0; row < tokens(); ++row) {
      const float* const out = gradient.out.data + row * gradient.out.stride + channel_;
      const float* const out_gradient = gradient.out_gradient.data + row * gradient.out_gradient.stride + channel_;
      float delta = 0.0F;
      for (std::int64_t c = 0; c < gradient.head_dim; ++c) delta += out[c] * out_gradient[c];
      deltas_.data()[row] = delta;
      logarithms_.data()[row] = gradient.log_sums.data[row * gradient.log_sums.stride + head] * Arithmetic::kScoreUnit;
    }
    for (std::int64_t row = tokens(); row < panels(tokens()) * kPanelColumns; ++row) {
      logarithms_.data()[row] = std::numeric_limits<float>::infinity();  // rows beyond the last have weight 0
    }
  }

  /// Adds what the queries that see keys [first_key, first_key + count) give; keys and values of all positions.
  void add(std::int64_t first_key, std::int64_t count, const PackedRows<Arithmetic>& keys,
           const PackedRows<Arithmetic>& values, const Operand* keys_along_rows) {
    const std::int64_t window = gradient_.window;
    const std::int64_t end = window > 0 ? smaller(tokens(), first_key + count - 1 + window) : tokens();
    for (std::int64_t block = first_key / kQueryBlock * kQueryBlock; block < end; block += kQueryBlock) {
      const std::int64_t last = smaller(end - block, kQueryBlock);
      const std::int64_t first = first_column(first_key, block);
      for (std::int64_t row = 0; row < count; row += Arithmetic::kRows) {
        add_rows(first_key + row, smaller(Arithmetic::kRows, count - row), block, first, last, row, keys, values);
      }
      transpose(count, first, last);
      add_query_gradient(first_key, count, block, first, last, keys_along_rows);
    }
  }

 private:
  [[nodiscard]] std::int64_t tokens() const { return gradient_.query.rows; }
  [[nodiscard]] ConstRows head_rows(const ConstRows& rows) const {
    return {rows.data + channel_, rows.stride, rows.rows};
  }
  /// The first column of a block that a key's rows need, at the beginning of a panel.
  static std::int64_t first_column(std::int64_t key, std::int64_t block) {
    return key > block ? (key - block) / kPanelColumns * kPanelColumns : 0;
  }

  /// Scores, weights and gradients of dK and dV of `rows` keys that begin at `key`, row `tile_row` of the tile.
  void add_rows(std::int64_t key, std::int64_t rows, std::int64_t block, std::int64_t tile_first, std::int64_t last,
                std::int64_t tile_row, const PackedRows<Arithmetic>& keys, const PackedRows<Arithmetic>& values) {
    const std::int64_t first = smaller(first_column(key, block), panels(last) * kPanelColumns);
    const std::int64_t filled = panels(last) * kPanelColumns;
    float* const gradients = score_gradients_ + tile_row * kQueryBlock;
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = tile_first; column < first; ++column) gradients[row * kQueryBlock + column] = 0.0F;
    }
    if (first >= filled) return;
    multiply_by_panels(rows, keys.operands.data() + key * keys.stride, keys.stride, queries_.along_head_dim.data(),
                       block, first, filled, scores_);
    multiply_by_panels(rows, values.operands.data() + key * values.stride, values.stride,
                       out_gradients_.along_head_dim.data(), block, first, filled, gradients);
    const Panel factor = Arithmetic::broadcast(gradient_.scale * Arithmetic::kScoreUnit);
    const Panel scale = Arithmetic::broadcast(gradient_.scale);
    for (std::int64_t row = 0; row < rows; ++row) {
      float* const scores = scores_ + row * kQueryBlock;
      float* const row_gradients = gradients + row * kQueryBlock;
      hide_unseen(key + row - block, first, filled, scores);
      for (std::int64_t column = first; column < filled; column += kPanelColumns) {
        const std::int64_t query = block + column;
        const Panel exponent = Arithmetic::subtract(Arithmetic::multiply(Arithmetic::load(scores + column), factor),
                                                    Arithmetic::load(logarithms_.data() + query));
        const Panel weight = Arithmetic::power(exponent);
        const Panel difference =
            Arithmetic::subtract(Arithmetic::load(row_gradients + column), Arithmetic::load(deltas_.data() + query));
        const Panel score_gradient = Arithmetic::multiply(Arithmetic::multiply(weight, scale), difference);
        Arithmetic::store_as_operands(weights_ + row * kWeights + column / Arithmetic::kNumbers, weight);
        Arithmetic::store_as_operands(key_weights_ + row * kWeights + column / Arithmetic::kNumbers, score_gradient);
        Arithmetic::store(row_gradients + column, score_gradient);
      }
    }
    add_to_gradient(rows, weights_, block, first, filled, out_gradients_.along_rows.data(), gradient_.value_gradient,
                    key);
    add_to_gradient(rows, key_weights_, block, first, filled, queries_.along_rows.data(), gradient_.key_gradient, key);
  }

  /// −∞ for the queries of a row that do not see its key, which stands at column `key` of the block.
  void hide_unseen(std::int64_t key, std::int64_t first, std::int64_t filled, float* scores) const {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (std::int64_t column = first; column < smaller(key, filled); ++column) scores[column] = -kInfinity;
    if (gradient_.window == 0) return;
    const std::int64_t unseen = key + gradient_.window;
    for (std::int64_t column = unseen < first ? first : unseen; column < filled; ++column) scores[column] = -kInfinity;
  }

  void multiply_by_panels(std::int64_t rows, const Operand* in, std::int64_t in_stride, const Operand* matrix,
                          std::int64_t block, std::int64_t first, std::int64_t filled, float* out) const {
    const std::int64_t depth = operands<Arithmetic>(gradient_.head_dim);
    multiply_rows<Arithmetic>(rows, {.in = in,
                                     .in_stride = in_stride,
                                     .matrix = matrix + (block + first) * depth,
                                     .matrix_stride = kPanelColumns,
                                     .panel_stride = depth * kPanelColumns,
                                     .depth = depth,
                                     .kept = nullptr,
                                     .out = out + first,
                                     .out_stride = kQueryBlock,
                                     .columns = filled - first});
  }

  /// out[key + row] += Σ over queries weights[row][query] · matrix[query].
  void add_to_gradient(std::int64_t rows, const Operand* weights, std::int64_t block, std::int64_t first,
                       std::int64_t filled, const Operand* matrix, const Rows& out, std::int64_t key) const {
    add_along_rows(rows, weights + first / Arithmetic::kNumbers, kWeights,
                   matrix + (block + first) / Arithmetic::kNumbers * value_stride(),
                   operands<Arithmetic>(filled - first), out.data + key * out.stride, out.stride);
  }

  void add_along_rows(std::int64_t rows, const Operand* in, std::int64_t in_stride, const Operand* matrix,
                      std::int64_t depth, float* out, std::int64_t out_stride) const {
    multiply_rows<Arithmetic>(rows, {.in = in,
                                     .in_stride = in_stride,
                                     .matrix = matrix,
                                     .matrix_stride = value_stride(),
                                     .panel_stride = kPanelColumns,
                                     .depth = depth,
                                     .kept = kAllKept,
                                     .out = out,
                                     .out_stride = out_stride,
                                     .columns = gradient_.head_dim});
  }

  /// The score gradients of a tile with queries as rows, as operands along the keys.
  void transpose(std::int64_t count, std::int64_t first, std::int64_t last) {
    for (std::int64_t key = 0; key < count; key += Arithmetic::kNumbers) {
      const float* const from = score_gradients_ + key * kQueryBlock;
      const float* const next = key + 1 < count ? from + kQueryBlock : nullptr;
      for (std::int64_t column = first; column < last; column += kPanelColumns) {
        Operand together[kPanelColumns];
        Arithmetic::join(from + column, next == nullptr ? nullptr : next + column, together);
        for (std::int64_t lane = 0; lane < kPanelColumns; ++lane) {
          transposed_[(column + lane) * kTileOperands + key / Arithmetic::kNumbers] = together[lane];
        }
      }
    }
  }

  void add_query_gradient(std::int64_t first_key, std::int64_t count, std::int64_t block, std::int64_t first,
                          std::int64_t last, const Operand* keys_along_rows) const {
    const Rows& out = gradient_.query_gradient;
    for (std::int64_t row = first; row < last; row += Arithmetic::kRows) {
      add_along_rows(smaller(Arithmetic::kRows, last - row), transposed_ + row * kTileOperands, kTileOperands,
                     keys_along_rows + first_key / Arithmetic::kNumbers * value_stride(), operands<Arithmetic>(count),
                     out.data + (block + row) * out.stride + channel_, out.stride);
    }
  }

  [[nodiscard]] std::int64_t value_stride() const { return panels(gradient_.head_dim) * kPanelColumns; }

  const AttentionGradient& gradient_;
  std::int64_t channel_;
  PackedPanels<Arithmetic> queries_;
  PackedPanels<Arithmetic> out_gradients_;
  Scratch<Arithmetic, float> logarithms_;  // in units of kScoreUnit
  Scratch<Arithmetic, float> deltas_;
  alignas(64) float scores_[Arithmetic::kRows * kQueryBlock];
  alignas(64) Operand weights_[Arithmetic::kRows * kWeights];
  alignas(64) Operand key_weights_[Arithmetic::kRows * kWeights];
  alignas(64) float score_gradients_[kKeyTile * kQueryBlock];
  alignas(64) Operand transposed_[kQueryBlock * kTileOperands];
};

template <typename Arithmetic>
void attend_backward(const AttentionGradient& gradient) {
  const std::int64_t tokens = gradient.query.rows;
  const auto clear = [&](const Rows& rows, std::int64_t width) {
    for (std::int64_t row = 0; row < tokens; ++row) {
      for (std::int64_t column = 0; column < width; ++column) rows.data[row * rows.stride + column] = 0.0F;
    }
  };
  clear(gradient.query_gradient, gradient.heads * gradient.head_dim);
  clear(gradient.key_gradient, gradient.head_dim);
  clear(gradient.value_gradient, gradient.head_dim);
  const PackedRows<Arithmetic> keys(gradient.key, gradient.head_dim);
  const PackedRows<Arithmetic> values(gradient.value, gradient.head_dim);
  Scratch<Arithmetic, typename Arithmetic::Operand> keys_along_rows(
      value_operands(Arithmetic::kType, tokens, gradient.head_dim));
  store_values<Arithmetic>({gradient.key, 0, gradient.head_dim, keys_along_rows.data()});
  for (std::int64_t head = 0; head < gradient.heads; ++head) {
    HeadGradient<Arithmetic> head_gradient(gradient, head);
    for (std::int64_t key = 0; key < tokens; key += kKeyTile) {
      head_gradient.add(key, smaller(kKeyTile, tokens - key), keys, values, keys_along_rows.data());
    }
  }
}

}  // namespace longrope

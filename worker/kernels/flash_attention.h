#pragma once

// Body of CpuKernels::attend; see cpu_kernels.h for what it computes.

#include "worker/kernels/matrix_product.h"

#include <limits>
#include <type_traits>

namespace longrope {

/// Keys are taken in blocks that begin at multiples of this, whatever part of the document a call covers: the running
/// maximum and sums of a query then go through the same steps in every tiling.
inline constexpr std::int64_t kKeyBlock = 256;
/// Query rows of one pass over the keys: a block of keys and values, which come from far away in a long document, is
/// read once for all of them: those of a whole piece for up to three query heads. No result depends on how many they
/// are.
inline constexpr std::int64_t kQueryRows = 3 * kAttentionPieceTokens;

/// Turns scores into exp((score − new largest)·scale), writes these as operands and adds them to the running softmax.
/// Returns the factor by which the sums so far must be multiplied. Keys outside [first, last) of the block count as −∞.
template <typename Arithmetic>
float softmax_row(float* scores, std::int64_t first, std::int64_t last, std::int64_t filled, float scale,
                  typename Arithmetic::Operand* weights, float& largest, float& sum) {
  using Panel = typename Arithmetic::Panel;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (std::int64_t key = 0; key < first; ++key) scores[key] = -kInfinity;
  for (std::int64_t key = last; key < filled; ++key) scores[key] = -kInfinity;
  Panel highest = Arithmetic::broadcast(largest);
  for (std::int64_t key = 0; key < filled; key += kPanelColumns) {
    highest = Arithmetic::maximum(highest, Arithmetic::load(scores + key));
  }
  const float new_largest = largest_of<Arithmetic>(highest);
  const float unit = scale * Arithmetic::kScoreUnit;
  // While a window has shown no key yet, −∞ − −∞ would not be a number.
  const float subtracted = new_largest == -kInfinity ? 0.0F : new_largest * unit;
  const Panel factor = Arithmetic::broadcast(unit);
  const Panel offset = Arithmetic::broadcast(-subtracted);
  Panel total = Arithmetic::broadcast(0.0F);
  for (std::int64_t key = 0; key < filled; key += kPanelColumns) {
    const Panel weight = Arithmetic::power(Arithmetic::multiply_add(Arithmetic::load(scores + key), factor, offset));
    Arithmetic::store_as_operands(weights + key / Arithmetic::kNumbers, weight);
    total = Arithmetic::add(total, weight);
  }
  // A block that shows no larger score, or none at all, changes nothing to the last bit: whether a row goes through a
  // block that it does not see depends on the rows beside it.
  float lanes[kPanelColumns] = {1.0F};
  if (new_largest != largest) {
    Arithmetic::store(lanes, Arithmetic::power(Arithmetic::broadcast(largest * unit - subtracted)));
  }
  sum = sum * lanes[0] + sum_of<Arithmetic>(total);
  largest = new_largest;
  return lanes[0];
}

/// One product block of queries: `rows` consecutive tokens of one head, against the keys of one block.
template <typename Arithmetic>
struct QueryRows {
  const float* in;
  typename Arithmetic::Operand* packed;  // rows of `packed_stride` operands
  std::int64_t packed_stride;
  float* out;
  float* log_sums;  // may be null
  std::int64_t rows;
  std::int64_t position;  // position of the first token
  float* largest;
  float* sum;
};

/// Scores of one product block, and the softmax weights that come out of them, in their place where they are floats.
template <typename Arithmetic>
class ScoreBlock {
 public:
  using Operand = typename Arithmetic::Operand;
  static constexpr std::int64_t kWeights = kKeyBlock / Arithmetic::kNumbers;  // operands of one row

  float* scores(std::int64_t row) { return scores_ + row * kKeyBlock; }
  Operand* weights(std::int64_t row) {
    if constexpr (kInPlace) {
      return scores(row);
    } else {
      return weights_ + row * kWeights;
    }
  }

 private:
  static constexpr bool kInPlace = std::is_same_v<Operand, float>;
  alignas(64) float scores_[Arithmetic::kRows * kKeyBlock];
  alignas(64) Operand weights_[kInPlace ? 1 : Arithmetic::kRows * kWeights];
};

template <typename Arithmetic>
void attend_to_block(const Attention& attention, const QueryRows<Arithmetic>& group, std::int64_t block,
                     ScoreBlock<Arithmetic>& scratch) {
  using Operand = typename Arithmetic::Operand;
  const auto clamp = [](std::int64_t value, std::int64_t high) {
    return value < 0 ? 0 : (value < high ? value : high);
  };
  const auto first_key = [&](std::int64_t position) {
    return attention.window > 0 ? clamp(position + 1 - attention.window - block, kKeyBlock) : 0;
  };
  const std::int64_t last = clamp(group.position + group.rows - block, kKeyBlock);
  const std::int64_t first = first_key(group.position) / kPanelColumns * kPanelColumns;
  if (first >= last) return;
  const std::int64_t filled = panels(last) * kPanelColumns;
  const std::int64_t depth = operands<Arithmetic>(attention.head_dim);
  multiply_rows<Arithmetic>(group.rows,
                            {.in = group.packed,
                             .in_stride = group.packed_stride,
                             .matrix = static_cast<const Operand*>(attention.keys) + (block + first) * depth,
                             .matrix_stride = kPanelColumns,
                             .panel_stride = depth * kPanelColumns,
                             .depth = depth,
                             .kept = nullptr,
                             .out = scratch.scores(0) + first,
                             .out_stride = kKeyBlock,
                             .columns = filled - first});
  float kept[Arithmetic::kRows];
  for (std::int64_t row = 0; row < group.rows; ++row) {
    const std::int64_t position = group.position + row;
    kept[row] = softmax_row<Arithmetic>(scratch.scores(row) + first, first_key(position) - first,
                                        clamp(position + 1 - block, kKeyBlock) - first, filled - first, attention.scale,
                                        scratch.weights(row) + first / Arithmetic::kNumbers, group.largest[row],
                                        group.sum[row]);
  }
  const std::int64_t stride = panels(attention.head_dim) * kPanelColumns;
  const Operand* const values =
      static_cast<const Operand*>(attention.values) + (block + first) / Arithmetic::kNumbers * stride;
  multiply_rows<Arithmetic>(group.rows, {.in = scratch.weights(0) + first / Arithmetic::kNumbers,
                                         .in_stride = ScoreBlock<Arithmetic>::kWeights,
                                         .matrix = values,
                                         .matrix_stride = stride,
                                         .panel_stride = kPanelColumns,
                                         .depth = operands<Arithmetic>(last - first),
                                         .kept = kept,
                                         .out = group.out,
                                         .out_stride = attention.out.stride,
                                         .columns = attention.head_dim});
}

/// What one pass over the keys needs beside its results; made once for all passes.
template <typename Arithmetic>
struct AttentionScratch {
  explicit AttentionScratch(std::int64_t head_dim)
      : query_stride(panels(head_dim) * kPanelColumns / Arithmetic::kNumbers), queries(kQueryRows * query_stride) {}

  std::int64_t query_stride;
  Scratch<Arithmetic, typename Arithmetic::Operand> queries;
  ScoreBlock<Arithmetic> block;
};

/// The queries of tokens [begin, begin + count) and heads [first_head, last_head) against all keys they see; at most
/// kQueryRows rows.
template <typename Arithmetic>
void attend_pass(const Attention& attention, std::int64_t begin, std::int64_t count, std::int64_t first_head,
                 std::int64_t last_head, AttentionScratch<Arithmetic>& scratch) {
  using Group = QueryRows<Arithmetic>;
  float largest[kQueryRows];
  float sum[kQueryRows];
  const auto for_each_group = [&](const auto& process) {
    std::int64_t state = 0;
    for (std::int64_t head = first_head; head < last_head; ++head) {
      for (std::int64_t token = begin; token < begin + count; token += Arithmetic::kRows) {
        const std::int64_t channel = head * attention.head_dim;
        process(Group{.in = attention.query.data + token * attention.query.stride + channel,
                      .packed = scratch.queries.data() + state * scratch.query_stride,
                      .packed_stride = scratch.query_stride,
                      .out = attention.out.data + token * attention.out.stride + channel,
                      .log_sums = attention.log_sums.data == nullptr
                                      ? nullptr
                                      : attention.log_sums.data + token * attention.log_sums.stride + head,
                      .rows = smaller(begin + count - token, Arithmetic::kRows),
                      .position = attention.first_position + token,
                      .largest = largest + state,
                      .sum = sum + state});
        state += Arithmetic::kRows;
      }
    }
  };
  const auto for_each_output = [&](const Group& group, const auto& process) {
    for (std::int64_t row = 0; row < group.rows; ++row) {
      for (std::int64_t channel = 0; channel < attention.head_dim; ++channel) {
        process(row, group.out[row * attention.out.stride + channel]);
      }
    }
  };
  for_each_group([&](const Group& group) {
    for (std::int64_t row = 0; row < group.rows; ++row) {
      Arithmetic::pack(group.in + row * attention.query.stride, attention.head_dim,
                       group.packed + row * group.packed_stride);
      group.largest[row] = -std::numeric_limits<float>::infinity();
      group.sum[row] = 0.0F;
    }
    for_each_output(group, [](std::int64_t, float& out) { out = 0.0F; });
  });
  const std::int64_t first_position = attention.first_position + begin;
  const std::int64_t first_key =
      attention.window > 0 && first_position >= attention.window ? first_position + 1 - attention.window : 0;
  for (std::int64_t block = first_key / kKeyBlock * kKeyBlock; block < first_position + count; block += kKeyBlock) {
    for_each_group([&](const Group& group) { attend_to_block<Arithmetic>(attention, group, block, scratch.block); });
  }
  for_each_group([&](const Group& group) {
    for_each_output(group, [&](std::int64_t row, float& out) { out /= group.sum[row]; });
    if (group.log_sums == nullptr) return;
    for (std::int64_t row = 0; row < group.rows; ++row) {
      group.log_sums[row * attention.log_sums.stride] =
          group.largest[row] * attention.scale + __builtin_logf(group.sum[row]);
    }
  });
}

template <typename Arithmetic>
void attend(const Attention& attention) {
  constexpr std::int64_t kGroups = kQueryRows / Arithmetic::kRows;
  const std::int64_t heads_per_pass = smaller(attention.heads, kGroups);
  const std::int64_t tokens_per_pass = kGroups / heads_per_pass * Arithmetic::kRows;
  AttentionScratch<Arithmetic> scratch(attention.head_dim);
  for (std::int64_t begin = 0; begin < attention.query.rows; begin += tokens_per_pass) {
    const std::int64_t count = smaller(tokens_per_pass, attention.query.rows - begin);
    for (std::int64_t head = 0; head < attention.heads; head += heads_per_pass) {
      attend_pass<Arithmetic>(attention, begin, count, head, smaller(head + heads_per_pass, attention.heads), scratch);
    }
  }
}

}  // namespace longrope

#pragma once

// Body of CpuKernels::attend; see cpu_kernels.h for what it computes.

#include "worker/kernels/matrix_product.h"

#include <limits>

namespace longrope {

/// Keys are taken in blocks that begin at multiples of this, whatever part of the document a call covers: the running
/// maximum and sums of a query then go through the same steps in every tiling.
inline constexpr std::int64_t kKeyBlock = 256;
/// Query rows of one pass over the keys: a block of keys and values is read once for all of them.
inline constexpr std::int64_t kQueryRows = 96;

/// Replaces scores by exp((score − new largest)·scale) and adds them to the running softmax. Returns the factor by
/// which the sums so far must be multiplied. Keys outside [first, last) of the block count as −∞.
template <typename Isa>
float softmax_row(float* scores, std::int64_t first, std::int64_t last, std::int64_t filled, float scale,
                  float& largest, float& sum) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (std::int64_t key = 0; key < first; ++key) scores[key] = -kInfinity;
  for (std::int64_t key = last; key < filled; ++key) scores[key] = -kInfinity;
  typename Isa::Panel highest = Isa::broadcast(largest);
  for (std::int64_t key = 0; key < filled; key += kPanelColumns) {
    highest = Isa::maximum(highest, Isa::load(scores + key));
  }
  const float new_largest = largest_of<Isa>(highest);
  // While a window has shown no key yet, −∞ − −∞ would not be a number.
  const float subtracted = new_largest == -kInfinity ? 0.0F : new_largest * scale;
  const typename Isa::Panel factor = Isa::broadcast(scale);
  const typename Isa::Panel offset = Isa::broadcast(-subtracted);
  typename Isa::Panel total = Isa::broadcast(0.0F);
  for (std::int64_t key = 0; key < filled; key += kPanelColumns) {
    const typename Isa::Panel weight = exponential<Isa>(Isa::multiply_add(Isa::load(scores + key), factor, offset));
    Isa::store(scores + key, weight);
    total = Isa::add(total, weight);
  }
  const typename Isa::Panel old = exponential<Isa>(Isa::broadcast(largest * scale - subtracted));
  float lanes[kPanelColumns];
  Isa::store(lanes, old);
  sum = sum * lanes[0] + sum_of<Isa>(total);
  largest = new_largest;
  return lanes[0];
}

/// One product block of queries: `rows` consecutive tokens of one head, against the keys of one block.
struct QueryRows {
  const float* query;
  float* out;
  std::int64_t rows;
  std::int64_t position;  // position of the first token
  float* largest;
  float* sum;
};

template <typename Isa>
void attend_to_block(const Attention& attention, const QueryRows& group, std::int64_t block, float* scores) {
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
  for (std::int64_t key = first; key < filled; key += kPanelColumns) {
    product_rows<Isa>(group.rows, group.query, attention.query.stride,
                      attention.keys + (block + key) * attention.head_dim, kPanelColumns, attention.head_dim, nullptr,
                      scores + key, kKeyBlock, kPanelColumns);
  }
  float kept[Isa::kRows];
  for (std::int64_t row = 0; row < group.rows; ++row) {
    const std::int64_t position = group.position + row;
    kept[row] = softmax_row<Isa>(scores + row * kKeyBlock + first, first_key(position) - first,
                                 clamp(position + 1 - block, kKeyBlock) - first, filled - first, attention.scale,
                                 group.largest[row], group.sum[row]);
  }
  const std::int64_t stride = panels(attention.head_dim) * kPanelColumns;
  for (std::int64_t column = 0; column < attention.head_dim; column += kPanelColumns) {
    const std::int64_t columns = clamp(attention.head_dim - column, kPanelColumns);
    product_rows<Isa>(group.rows, scores + first, kKeyBlock, attention.values + (block + first) * stride + column,
                      stride, last - first, kept, group.out + column, attention.out.stride, columns);
  }
}

/// The queries of tokens [begin, begin + count) and heads [first_head, last_head) against all keys they see; at most
/// kQueryRows rows.
template <typename Isa>
void attend_pass(const Attention& attention, std::int64_t begin, std::int64_t count, std::int64_t first_head,
                 std::int64_t last_head) {
  alignas(64) float scores[Isa::kRows * kKeyBlock];
  float largest[kQueryRows];
  float sum[kQueryRows];
  const auto for_each_group = [&](const auto& process) {
    std::int64_t state = 0;
    for (std::int64_t head = first_head; head < last_head; ++head) {
      for (std::int64_t token = begin; token < begin + count; token += Isa::kRows) {
        const std::int64_t left = begin + count - token;
        const std::int64_t rows = left < Isa::kRows ? left : Isa::kRows;
        const std::int64_t channel = head * attention.head_dim;
        process(QueryRows{attention.query.data + token * attention.query.stride + channel,
                          attention.out.data + token * attention.out.stride + channel, rows,
                          attention.first_position + token, largest + state, sum + state});
        state += Isa::kRows;
      }
    }
  };
  const auto for_each_output = [&](const QueryRows& group, const auto& process) {
    for (std::int64_t row = 0; row < group.rows; ++row) {
      for (std::int64_t channel = 0; channel < attention.head_dim; ++channel) {
        process(row, group.out[row * attention.out.stride + channel]);
      }
    }
  };
  for_each_group([&](const QueryRows& group) {
    for (std::int64_t row = 0; row < group.rows; ++row) {
      group.largest[row] = -std::numeric_limits<float>::infinity();
      group.sum[row] = 0.0F;
    }
    for_each_output(group, [](std::int64_t, float& out) { out = 0.0F; });
  });
  const std::int64_t first_position = attention.first_position + begin;
  const std::int64_t first_key =
      attention.window > 0 && first_position >= attention.window ? first_position + 1 - attention.window : 0;
  for (std::int64_t block = first_key / kKeyBlock * kKeyBlock; block < first_position + count; block += kKeyBlock) {
    for_each_group([&](const QueryRows& group) { attend_to_block<Isa>(attention, group, block, scores); });
  }
  for_each_group([&](const QueryRows& group) {
    for_each_output(group, [&](std::int64_t row, float& out) { out /= group.sum[row]; });
  });
}

template <typename Isa>
void attend(const Attention& attention) {
  constexpr std::int64_t kGroups = kQueryRows / Isa::kRows;
  const auto smaller = [](std::int64_t a, std::int64_t b) { return a < b ? a : b; };
  const std::int64_t heads_per_pass = smaller(attention.heads, kGroups);
  const std::int64_t tokens_per_pass = kGroups / heads_per_pass * Isa::kRows;
  for (std::int64_t begin = 0; begin < attention.query.rows; begin += tokens_per_pass) {
    const std::int64_t count = smaller(tokens_per_pass, attention.query.rows - begin);
    for (std::int64_t head = 0; head < attention.heads; head += heads_per_pass) {
      attend_pass<Isa>(attention, begin, count, head, smaller(head + heads_per_pass, attention.heads));
    }
  }
}

}  // namespace longrope

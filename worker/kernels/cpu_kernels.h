#pragma once

#include "common/rope/rotary_formulas.h"
#include "worker/kernels/logit_state.h"
#include "worker/kernels/tile_sizes.h"

#include <cstdint>

namespace longrope {

// Arithmetic of the scorer on CPU cores, without Torch. All numbers that go in and come out are float32; what products
// multiply is float32 too, or pairs of bfloat16. Every result is one fixed sequence of roundings per element, which
// does not depend on how many rows, columns or heads one call covers: the same bits for any tile size and any number of
// threads, and of float32 operands for AVX2 and AVX-512 too.
//
// Functions are pure and single-threaded; callers divide rows, panels and heads among threads. Strides count elements.
// An operand is 4 bytes: one number, or two bfloat16 numbers that follow each other along the depth, the first in the
// low half; an odd depth is filled up with 0. "depth / n" below is rounded up. Matrices lie in panels of kPanelColumns
// columns: operands [⌈columns / 16⌉][depth / n][16], the last panel filled up with zeros.

/// `rows` rows of a matrix in memory, to be read. `stride`: elements from one row to the next.
struct ConstRows {
  const float* data = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0;
};
/// Rows of a matrix in memory, to be written.
struct Rows {
  float* data = nullptr;
  std::int64_t stride = 0;
};

/// What products multiply: a number, or a pair.
enum class OperandType : std::uint8_t { kFloat32, kBfloat16Pair };

/// Numbers of one operand, n.
[[nodiscard]] constexpr std::int64_t numbers_per_operand(OperandType type) {
  return type == OperandType::kFloat32 ? 1 : 2;
}
/// Operands that hold so many numbers.
[[nodiscard]] constexpr std::int64_t operand_count(OperandType type, std::int64_t numbers) {
  return (numbers + numbers_per_operand(type) - 1) / numbers_per_operand(type);
}

/// Operands of the keys of one key-value head, and of its values, for so many positions: what store_keys() and
/// store_values() write.
[[nodiscard]] constexpr std::int64_t key_operands(OperandType type, std::int64_t positions, std::int64_t head_dim) {
  return panels(positions) * operand_count(type, head_dim) * kPanelColumns;
}
[[nodiscard]] constexpr std::int64_t value_operands(OperandType type, std::int64_t positions, std::int64_t head_dim) {
  return operand_count(type, positions) * panels(head_dim) * kPanelColumns;
}

/// out[r][c] = start + Σ_k in[r][k]·matrix[k][c] for the columns of panels [first_panel, last_panel).
struct Product {
  ConstRows in;                  // [rows, depth]
  const void* matrix = nullptr;  // all panels
  std::int64_t depth = 0;        // in numbers
  std::int64_t columns = 0;      // columns of the whole matrix
  std::int64_t first_panel = 0;
  std::int64_t last_panel = 0;
  bool accumulate = false;  // start is what `out` holds; otherwise it is 0
  Rows out;                 // [rows, columns]
};

/// Exact causal attention of the query heads that share one key-value head, for some consecutive tokens: softmax(q·kᵀ·
/// scale)·v over keys max(0, p + 1 − window) … p of the query at position p. Flash style: no [tokens, keys] matrix.
struct Attention {
  ConstRows query;                  // row t, head g at data + t·stride + g·head_dim; rows = tokens
  std::int64_t first_position = 0;  // position of row 0
  std::int64_t heads = 1;           // query heads of this key-value head
  std::int64_t head_dim = 0;
  const void* keys = nullptr;    // operands [⌈positions / 16⌉][head_dim / n][16], as store_keys() writes them
  const void* values = nullptr;  // operands [positions / n][16·panels(head_dim)], as store_values() writes them
  std::int64_t window = 0;       // sliding window in tokens, the query's own included; 0: none
  float scale = 1.0F;            // 1/√head_dim
  Rows out;                      // row t, head g at data + t·stride + g·head_dim
  Rows log_sums;                 // without data: not wanted. log Σ exp(scale·q·k), row t, head g at data + t·stride + g
};

/// Keys or values of one key-value head for positions [first_position, first_position + in.rows), which come in order.
struct HeadRows {
  ConstRows in;  // [rows, head_dim]
  std::int64_t first_position = 0;
  std::int64_t head_dim = 0;
  void* out = nullptr;  // those of all positions
};

/// Gradients of a function of attend()'s result, for the query heads that share one key-value head, over a sequence
/// from position 0. Rows are tokens: all of query, key, value, out and its gradient; row t, head g at data + t·stride +
/// g·head_dim, of keys and values only one head. All gradients are float32 sums, in an order that only the number of
/// tokens determines. Memory: some 7 operands per token and number of head_dim.
struct AttentionGradient {
  ConstRows query;
  ConstRows key;
  ConstRows value;
  ConstRows out;           // of attend()
  ConstRows log_sums;      // of attend(): row t, head g at data + t·stride + g
  ConstRows out_gradient;  // with respect to `out`
  std::int64_t heads = 1;
  std::int64_t head_dim = 0;
  std::int64_t window = 0;
  float scale = 1.0F;
  Rows query_gradient;
  Rows key_gradient;
  Rows value_gradient;
};

struct CpuKernels {
  const char* instruction_set;  // "AVX2", "AVX-512", "AVX512-BF16"
  OperandType operands;
  void (*multiply)(const Product& product);
  void (*attend)(const Attention& attention);
  void (*attend_backward)(const AttentionGradient& gradient);
  void (*store_keys)(const HeadRows& keys);
  void (*store_values)(const HeadRows& values);
  /// out = in · weight / √(mean(in²) + epsilon), [rows, width]; `weight` [width]. `out` may be `in`.
  void (*rms_norm)(const ConstRows& in, std::int64_t width, const float* weight, float epsilon, const Rows& out);
  /// Rotates pair i = channels (i, i + pairs) of each head in place: [rows, heads·head_dim]; cos, sin [rows, pairs].
  void (*rotate)(const Rows& rows, std::int64_t count, std::int64_t heads, std::int64_t head_dim, const float* cos,
                 const float* sin, std::int64_t pairs);
  /// out = silu(gate) · up, gate_up [rows, 2·width] with the gate first, out [rows, width].
  void (*gate)(const ConstRows& gate_up, std::int64_t width, const Rows& out);
  /// Adds the logits of columns [first_column, first_column + columns) to `states` [rows]; `targets` [rows].
  void (*add_logits)(const ConstRows& logits, std::int64_t first_column, std::int64_t columns,
                     const std::int64_t* targets, LogitState* states);
};

/// The scale of attention, 1/√head_dim.
[[nodiscard]] float attention_scale(std::int64_t head_dim);

/// The fastest kernels of this processor for these operands, or nullptr: float32 needs AVX2 with FMA or AVX-512F, pairs
/// of bfloat16 AVX512-BF16.
[[nodiscard]] const CpuKernels* cpu_kernels(OperandType operands);
/// The kernels of one instruction set, for comparing them; nullptr when the processor does not have it.
[[nodiscard]] const CpuKernels* avx2_kernels();
[[nodiscard]] const CpuKernels* avx512_kernels();
[[nodiscard]] const CpuKernels* avx512_bfloat16_kernels();

/// Writes panels [first_panel, last_panel) of a weight [columns, depth] as Hugging Face stores it: row c of the weight
/// is column c of the matrix. `Weight` is float, or std::uint16_t for bfloat16 bits; floats that become pairs are
/// rounded to nearest even.
template <typename Weight>
void pack_panels(const Weight* weight, std::int64_t columns, std::int64_t depth, std::int64_t first_panel,
                 std::int64_t last_panel, OperandType operands, void* panels);

}  // namespace longrope

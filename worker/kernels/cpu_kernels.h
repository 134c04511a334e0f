#pragma once

#include "common/rope/rotary_formulas.h"
#include "worker/kernels/logit_state.h"
#include "worker/kernels/tile_sizes.h"

#include <cstdint>

namespace longrope {

// Arithmetic of the scorer on CPU cores, in float32, without Torch. Every result is one fixed sequence of roundings
// per element, which depends neither on how many rows, columns or heads one call covers nor on the instruction set:
// the same bits for any tile size, any number of threads, AVX2 or AVX-512.
//
// Functions are pure and single-threaded; callers divide rows, panels and heads among threads. Strides count elements.
// Matrices lie in panels of kPanelColumns columns: [⌈columns / 16⌉][depth][16], the last panel filled up with zeros.

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

/// out[r][c] = start + Σ_k in[r][k]·matrix[k][c] for the columns of panels [first_panel, last_panel).
struct Product {
  ConstRows in;                   // [rows, depth]
  const float* matrix = nullptr;  // all panels
  std::int64_t depth = 0;
  std::int64_t columns = 0;  // columns of the whole matrix
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
  const float* keys = nullptr;    // panels of 16 positions: [⌈positions / 16⌉][head_dim][16]
  const float* values = nullptr;  // [positions][16·panels(head_dim)], filled up with zeros
  std::int64_t window = 0;        // sliding window in tokens, the query's own included; 0: none
  float scale = 1.0F;             // 1/√head_dim
  Rows out;                       // row t, head g at data + t·stride + g·head_dim
};

struct CpuKernels {
  const char* instruction_set;  // "AVX2", "AVX-512"
  void (*multiply)(const Product& product);
  void (*attend)(const Attention& attention);
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

/// The fastest kernels this processor runs, or nullptr when it has neither AVX2 with FMA nor AVX-512F.
[[nodiscard]] const CpuKernels* cpu_kernels();
/// The kernels of one instruction set, for comparing them; nullptr when the processor does not have it.
[[nodiscard]] const CpuKernels* avx2_kernels();
[[nodiscard]] const CpuKernels* avx512_kernels();

/// Writes panels [first_panel, last_panel) of a weight [columns, depth] as Hugging Face stores it: row c of the weight
/// is column c of the matrix. `Weight` is float, or std::uint16_t for bfloat16 bits.
template <typename Weight>
void pack_panels(const Weight* weight, std::int64_t columns, std::int64_t depth, std::int64_t first_panel,
                 std::int64_t last_panel, float* panels);

}  // namespace longrope

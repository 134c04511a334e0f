#pragma once

#include "common/rope/rotary_formulas.h"
#include "worker/kernels/logit_state.h"

#include <cstdint>

namespace longrope {

// Arithmetic of the scorer on CUDA devices, without Torch. Pointers are of device memory; strides count elements.
// Functions launch on the given stream of the calling thread's current device and return at once: what their arguments
// point to must stay valid until the stream has come to it. They throw std::runtime_error when the launch fails; a
// later failure is reported by the next call that waits for the stream. Any number of threads may call.

/// The type in which rows are stored. All arithmetic on them is float32, rounded to nearest even once at the end.
enum class ElementType { kFloat32, kBfloat16, kFloat16 };

/// Rows of a cache of keys and values: token t, head h at t·stride + h·head_dim, of the rotation's type.
struct KeyValueRows {
  void* keys = nullptr;
  void* values = nullptr;
  std::int64_t stride = 0;
  std::int64_t heads = 0;  // 0: there is no cache
};

/// One call of a rotation kernel, which rotates pair i = channels (i, i + pairs) of each head in place by its angle;
/// channels from 2·pairs on stay. With a cache, the last of the heads are keys, which are written to it instead, and as
/// many heads behind them are values, which are copied to it. Angles, cos and sin are computed on the fly in `Real`,
/// double or float, so there is no table over positions.
template <typename Real>
struct Rotation {
  void* rows = nullptr;  // token t, head h at t·stride + h·head_dim, of type `type`
  ElementType type = ElementType::kFloat32;
  std::int64_t stride = 0;
  std::int64_t tokens = 0;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t first_position = 0;   // position of token 0
  std::int64_t sequence_tokens = 0;  // tokens after which positions begin again; 0: never
  std::int64_t pairs = 0;            // rotary_dim / 2
  RotaryAngles<Real> angles;         // arrays of `pairs`
  KeyValueRows cache = {};
};

/// One tile of logits: some rows, and columns [first_column, first_column + columns) of the vocabulary.
struct LogitTile {
  const void* logits = nullptr;  // row r, column c at r·stride + c, of type `type`
  ElementType type = ElementType::kFloat32;
  std::int64_t stride = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t first_column = 0;
  const std::int64_t* targets = nullptr;  // [rows]
  LogitState* states = nullptr;           // [rows]
};

/// A cudaStream_t; nullptr is the default stream.
using CudaStream = void*;

struct CudaKernels {
  void (*rotate_fp64)(const Rotation<double>& rotation, CudaStream stream);
  void (*rotate_hf_fp32)(const Rotation<float>& rotation, CudaStream stream);
  /// Log-sum-exp, the target's logit and the argmax in one pass over the tile, into the rows' states. Infinite logits
  /// and NaN give what CpuKernels::add_logits gives. A row's sum has the same order for any number of rows.
  void (*add_logits)(const LogitTile& tile, CudaStream stream);
};

/// The kernels, or nullptr when this program was linked without them.
[[nodiscard]] const CudaKernels* cuda_kernels();

}  // namespace longrope

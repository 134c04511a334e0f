#pragma once

#include "worker/model/placement.h"
#include "worker/model/row_operations.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace longrope {

/// Keys and values of one layer for a whole document, and exact causal attention of tiles of queries over them.
/// K = key-value heads, H = query heads (a multiple of K; query head h reads key-value head h / (H / K)), D = head_dim.
/// Memory: K·D elements each of keys and values per token, in the dtype of products; on the CPU kernels the D of values
/// and the tokens of keys are rounded up to 16. Not thread-safe. Made once per document; each layer stores its own over
/// those of the layer before.
class KeyValueCache {
 public:
  KeyValueCache(std::int64_t tokens, std::int64_t key_value_heads, std::int64_t head_dim, const Placement& placement);

  /// Takes keys and values [n, K, D] of positions [begin, begin + n); tiles come in order of their positions.
  void store(std::int64_t begin, const at::Tensor& keys, const at::Tensor& values);
  /// Rotates queries and keys of `heads` [n, H + 2K, D], queries first, values last, and stores keys and values. The
  /// queries are left rotated in place, the keys perhaps not: on CUDA one kernel does it all.
  void rotate_and_store(std::int64_t begin, const at::Tensor& heads, const RotaryRows& rotary);

  /// out[t] = softmax(q[t]·kᵀ/√D)·v over the last `window` positions up to and including begin + t (0: all of them), of
  /// queries [n, H, D] at positions [begin, begin + n), which must be stored. Flash style: no [n, positions] matrix. On
  /// the CPU kernels a result has the same bits for any tiling and number of threads; others compute by
  /// attend_causal(). `piece_finished` is called pieces() times, from any thread, on CUDA when the work is queued.
  /// `log_sums` [n, H] float32, when defined, becomes the logarithm of each query's sum of exponentials, which the
  /// gradient of attention needs; CPU kernels only.
  void attend(std::int64_t begin, const at::Tensor& queries, std::int64_t window, const at::Tensor& out,
              const std::function<void()>& piece_finished, const at::Tensor& log_sums = {}) const;
  /// How often attend() calls `piece_finished` for so many queries.
  [[nodiscard]] static std::int64_t pieces(std::int64_t tokens, std::int64_t key_value_heads,
                                           const Placement& placement);

 private:
  void attend_with_kernels(std::int64_t begin, const at::Tensor& queries, std::int64_t window, const at::Tensor& out,
                           const std::function<void()>& piece_finished, const at::Tensor& log_sums) const;

  const CpuKernels* kernels_;  // `attention_` computes without
  const FusedAttention* attention_;
  std::int64_t heads_;  // K
  std::int64_t head_dim_;
  at::Tensor keys_;    // [T, K, D]; CPU kernels: [K, key_operands()] (cpu_kernels.h)
  at::Tensor values_;  // [T, K, D]; CPU kernels: [K, value_operands()]
};

}  // namespace longrope

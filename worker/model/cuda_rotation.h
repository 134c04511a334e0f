#pragma once

#include "worker/kernels/cuda/cuda_kernels.h"
#include "worker/model/row_operations.h"

#include <ATen/core/Tensor.h>

namespace longrope {

// The CUDA rotation kernel on tensors. What makes its arguments needs no GPU: tests give the same arguments to the
// kernel's body on the host.

/// Rows with frequencies, from position `begin` on: float64 for AngleMode::kFp64, else float32.
[[nodiscard]] RotaryRows rotary_frequency_rows(const RotaryFrequencies& frequencies, std::int64_t begin,
                                               at::Device device);

/// Rows of a cache, [n, K, D] side by side, of the same strides; undefined: none.
struct CacheRows {
  at::Tensor keys;
  at::Tensor values;
};

/// The kernel's arguments for `heads` as rotate() takes them and `rotary` with frequencies of type Real (double or
/// float). With a cache, the last K of the heads are keys, and their values lie behind them. Points into all of them.
/// Throws Error unless the dtype of `heads` is float32, bfloat16 or float16.
template <typename Real>
[[nodiscard]] Rotation<Real> rotation_of(const at::Tensor& heads, const RotaryRows& rotary,
                                         const CacheRows& cache = {});

/// Queues the kernel on the current stream of the device of `heads`.
void rotate_on_cuda(const CudaKernels& kernels, const at::Tensor& heads, const RotaryRows& rotary,
                    const CacheRows& cache = {});

}  // namespace longrope

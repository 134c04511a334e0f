#pragma once

#include "worker/kernels/cuda/cuda_kernels.h"
#include "worker/model/row_operations.h"

#include <ATen/core/Tensor.h>

namespace longrope {

// The arguments of the CUDA rotation kernel, made from tensors. Neither function needs a GPU: tests give the same
// arguments to the kernel's body on the host.

/// Rows with frequencies, from position `begin` on: float64 for AngleMode::kFp64, else float32.
[[nodiscard]] RotaryRows rotary_frequency_rows(const RotaryFrequencies& frequencies, std::int64_t begin,
                                               at::Device device);

/// The kernel's arguments for `heads` as rotate() takes them and `rotary` with frequencies of type Real (double or
/// float). Points into both. Throws Error unless the
/// dtype of `heads` is float32, bfloat16 or float16.
template <typename Real>
[[nodiscard]] Rotation<Real> rotation_of(const at::Tensor& heads, const RotaryRows& rotary);

}  // namespace longrope

#pragma once

#include "worker/kernels/cuda/cuda_kernels.h"
#include "worker/model/row_operations.h"

#include <ATen/core/Tensor.h>

namespace longrope {

// What rotate() gives the CUDA kernel. Neither function needs a GPU: tests give the same to the kernel's body on the
// host.

/// Rows with frequencies, from position `begin` on. Float64 for AngleMode::kFp64, else float32.
[[nodiscard]] RotaryRows rotary_frequency_rows(const RotaryGeometry& geometry, const RescaleFactors& factors,
                                               AngleMode mode, std::int64_t begin, at::Device device);

/// `heads` as rotate() takes them, `rotary` with frequencies of type Real (double or float). Points into both. Throws
/// Error for a dtype that is none of the kernels'.
template <typename Real>
[[nodiscard]] Rotation<Real> rotation_of(const at::Tensor& heads, const RotaryRows& rotary);

}  // namespace longrope

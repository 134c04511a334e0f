#pragma once

#include "worker/kernels/cuda/cuda_kernels.h"

#include <ATen/core/Tensor.h>

namespace longrope {

// What lies between Torch's tensors and the CUDA kernels. Needs no header of CUDA.

/// The kernels that compute on this device, or nullptr: then Torch's do.
[[nodiscard]] inline const CudaKernels* cuda_kernels_for(at::Device device) {
  return device.is_cuda() ? cuda_kernels() : nullptr;
}

/// The stream on which Torch's operations of this thread run on a device.
[[nodiscard]] CudaStream current_stream(at::Device device);

/// Throws Error for a dtype that is none of the kernels'.
[[nodiscard]] ElementType element_type(const at::Tensor& tensor);

}  // namespace longrope

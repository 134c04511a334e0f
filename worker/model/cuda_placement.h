#pragma once

#include "worker/kernels/cuda/cuda_kernels.h"

#include <ATen/core/Tensor.h>

namespace longrope {

// From Torch's tensors to the arguments of the CUDA kernels. Needs no header of CUDA.

/// The kernels that compute on this device, or nullptr: then Torch's do.
[[nodiscard]] inline const CudaKernels* cuda_kernels_for(at::Device device) {
  return device.is_cuda() ? cuda_kernels() : nullptr;
}

/// The index of a device that may be named without one: then the first.
[[nodiscard]] inline c10::DeviceIndex device_index(at::Device device) {
  return device.has_index() ? device.index() : c10::DeviceIndex{0};
}

/// The stream on which Torch runs the operations of this thread on a device.
[[nodiscard]] CudaStream current_stream(at::Device device);

/// The kernels' name for the tensor's dtype. Throws Error unless it is float32, bfloat16 or float16.
[[nodiscard]] ElementType element_type(const at::Tensor& tensor);

}  // namespace longrope

#pragma once

#include "worker/kernels/cpu_kernels.h"

#include <ATen/core/Tensor.h>

namespace longrope {

/// The device and dtypes that a model runs on.
struct Placement {
  at::Device device = at::kCPU;
  at::ScalarType weights = at::kFloat;     // weights are rounded to and kept in this
  at::ScalarType arithmetic = at::kFloat;  // activations, and weights while they are used
};

/// The kernels that compute on tensors of this kind, or nullptr: then Torch's do.
[[nodiscard]] inline const CpuKernels* kernels_for(at::Device device, at::ScalarType arithmetic) {
  return device.is_cpu() && arithmetic == at::kFloat ? cpu_kernels() : nullptr;
}
[[nodiscard]] inline const CpuKernels* kernels_for(const at::Tensor& tensor) {
  return kernels_for(tensor.device(), tensor.scalar_type());
}

/// The rows of a float32 tensor [rows, columns] with last stride 1.
[[nodiscard]] inline ConstRows const_rows(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), tensor.stride(0), tensor.size(0)};
}
[[nodiscard]] inline Rows rows(const at::Tensor& tensor) { return {tensor.data_ptr<float>(), tensor.stride(0)}; }

}  // namespace longrope

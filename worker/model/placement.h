#pragma once

#include "worker/kernels/cpu_kernels.h"
#include "worker/model/fused_attention.h"

#include <ATen/core/Tensor.h>

namespace longrope {

/// The device and dtypes that a model runs on.
struct Placement {
  at::Device device = at::kCPU;
  at::ScalarType weights = at::kFloat;     // weights are rounded to and kept in this
  at::ScalarType arithmetic = at::kFloat;  // activations
  // What products of matrices and attention multiply: `arithmetic`, or bfloat16 where CPU kernels round to it by
  // themselves.
  at::ScalarType products = at::kFloat;
  // Computes attention where the CPU kernels do not.
  const FusedAttention* attention = &kCpuAttention;
};

/// The kernels for products and attention of a model that is placed so, or nullptr: then Torch's compute.
[[nodiscard]] inline const CpuKernels* kernels_for(const Placement& placement) {
  if (!placement.device.is_cpu() || placement.arithmetic != at::kFloat) return nullptr;
  return cpu_kernels(placement.products == at::kFloat ? OperandType::kFloat32 : OperandType::kBfloat16Pair);
}
/// The kernels that compute on rows of such a tensor, or nullptr.
[[nodiscard]] inline const CpuKernels* row_kernels_for(const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.scalar_type() == at::kFloat ? cpu_kernels(OperandType::kFloat32) : nullptr;
}

/// The dtype of tensors of operands (cpu_kernels.h), whatever these are: four bytes.
inline constexpr at::ScalarType kOperandTensor = at::kInt;

/// The rows of a float32 tensor [rows, columns] with last stride 1.
[[nodiscard]] inline ConstRows const_rows(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), tensor.stride(0), tensor.size(0)};
}
[[nodiscard]] inline Rows rows(const at::Tensor& tensor) { return {tensor.data_ptr<float>(), tensor.stride(0)}; }

}  // namespace longrope

#pragma once

#include "worker/model/placement.h"

#include <ATen/core/Tensor.h>

namespace longrope {

/// A linear map, ready to be computed with: weights as products multiply them, in panels where the CPU kernels do.
/// Both products read `in` [rows, inputs] and write `out` [rows, outputs], arithmetic dtype, last stride 1.
/// On the CPU kernels a result has the same bits for any number of rows at once and of threads. Immutable; copies share
/// the weights.
class Projection {
 public:
  /// `weight` [outputs, inputs] in the weights dtype as Hugging Face stores it; `bias` [outputs] may be undefined.
  Projection(const at::Tensor& weight, const at::Tensor& bias, const Placement& placement);

  /// out = in·weightᵀ + bias.
  void write(const at::Tensor& in, const at::Tensor& out) const;
  /// out = out + in·weightᵀ + bias.
  void add(const at::Tensor& in, const at::Tensor& out) const;

  /// The map by the transposed weight, from [rows, outputs] to [rows, inputs], without bias: a gradient of the result
  /// becomes one of what was read. Made anew each time.
  [[nodiscard]] Projection transposed() const;
  /// The map to outputs [first, first + count) alone; `first` is a multiple of kPanelColumns, there is no bias.
  [[nodiscard]] Projection outputs(std::int64_t first, std::int64_t count) const;

 private:
  Projection() = default;

  const CpuKernels* kernels_ = nullptr;  // Torch's compute without
  at::Tensor weight_;  // [outputs, inputs], or its panels: operands [⌈outputs / 16⌉, inputs / n, 16] (cpu_kernels.h)
  at::Tensor bias_;
  std::int64_t outputs_ = 0;
  std::int64_t inputs_ = 0;
};

}  // namespace longrope

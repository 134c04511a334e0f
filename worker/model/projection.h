#pragma once

#include "worker/model/placement.h"

#include <ATen/core/Tensor.h>

namespace longrope {

/// A linear map, ready to be computed with: weights in the arithmetic dtype, in panels where the CPU kernels multiply.
/// Both products read `in` [rows, inputs] and write `out` [rows, outputs], arithmetic dtype, last stride 1.
/// On the CPU kernels a result has the same bits for any number of rows at once and of threads. Immutable.
class Projection {
 public:
  /// `weight` [outputs, inputs] in the weights dtype as Hugging Face stores it; `bias` [outputs] may be undefined.
  Projection(const at::Tensor& weight, const at::Tensor& bias, const Placement& placement);

  /// out = in·weightᵀ + bias.
  void write(const at::Tensor& in, const at::Tensor& out) const;
  /// out = out + in·weightᵀ + bias.
  void add(const at::Tensor& in, const at::Tensor& out) const;

 private:
  at::Tensor weight_;  // [outputs, inputs], or its panels [⌈outputs / 16⌉, inputs, 16]
  at::Tensor bias_;
};

}  // namespace longrope

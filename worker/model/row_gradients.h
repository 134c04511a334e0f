#pragma once

#include "common/rope/factor_gradient.h"
#include "common/rope/rotary_table.h"

#include <ATen/core/Tensor.h>

namespace longrope {

// Gradients of what worker/model/row_operations.h does to each token by itself. Tensors are float32 on the CPU, rows
// with last stride 1. A result has the same bits for any number of threads.

/// What a gradient does to the tensor that it is written to.
enum class Accumulate : bool { kNo, kYes };

/// The gradient of rms_norm(in, weight, epsilon) with respect to `in`, times `out_gradient`: [n, columns]. `gradient`
/// may be `out_gradient` when nothing is accumulated.
void rms_norm_gradient(const at::Tensor& in, const at::Tensor& weight, double epsilon, const at::Tensor& out_gradient,
                       Accumulate accumulate, const at::Tensor& gradient);

/// The gradient of gate(gate_up) [n, 2·columns], times `out_gradient` [n, columns]. `gradient` may be `gate_up`.
void gate_gradient(const at::Tensor& gate_up, const at::Tensor& out_gradient, const at::Tensor& gradient);

/// Adds to `sums` what the heads of positions 0, 1, … contribute: `rotated` [n, heads, head_dim] as rotate() left them,
/// and the gradient with respect to them, of the same shape; both side by side. Sums are in double precision, in an
/// order that only n determines: angles reach 10^6, and terms cancel.
void add_factor_gradient(const at::Tensor& rotated, const at::Tensor& gradient, const RotaryFrequencies& frequencies,
                         FactorGradient& sums);

}  // namespace longrope

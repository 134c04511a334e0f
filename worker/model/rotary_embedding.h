#pragma once

#include <ATen/core/Tensor.h>

#include "common/rotary_table.h"

namespace longrope {

/// cos and sin on the model's device, for all positions of a document.
struct RotaryTensors {
  at::Tensor cos;  // [positions, rotary_dim / 2] float32
  at::Tensor sin;
};

[[nodiscard]] RotaryTensors to_device(const RotaryTable& table, at::Device device);

/// Turns pair i = channels (i, i + rotary_dim/2) of every head by its angle (half-split layout, spec §1); channels from
/// rotary_dim on pass through. Computed in float32 and rounded once to the dtype of `out`.
/// `in` [tokens, heads, head_dim], `out` [heads, tokens, head_dim], any strides; `rotary` holds these tokens' rows.
void apply_rotary(const at::Tensor& in, const RotaryTensors& rotary, const at::Tensor& out);

}  // namespace longrope

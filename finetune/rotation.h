#pragma once

#include "worker/model/row_operations.h"

#include <ATen/core/Tensor.h>

namespace longrope {

/// rotate() of worker/model/row_operations.h for training: the heads stay as they are, the result has a gradient.
/// `heads` [B, T, heads, head_dim], any floating dtype; row t of `rotary` is for token t of every sequence.
[[nodiscard]] at::Tensor rotated(const at::Tensor& heads, const RotaryRows& rotary);

}  // namespace longrope

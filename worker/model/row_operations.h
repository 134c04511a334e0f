#pragma once

#include "common/rope/rotary_table.h"
#include "worker/model/placement.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace longrope {

// What a layer does to each token by itself, on tiles [n, columns] of float32 or another floating dtype, last stride 1.
// On the CPU kernels a result has the same bits for any number of rows at once and of threads.

/// out = in · weight / √(mean(in²) + epsilon) (RMSNorm); `weight` [columns], arithmetic dtype. `out` may be `in`.
void rms_norm(const at::Tensor& in, const at::Tensor& weight, double epsilon, const at::Tensor& out);

/// rms_norm() of every head of `heads` [n, heads, head_dim] by itself, in place; strides (any, any, 1).
void rms_norm_heads(const at::Tensor& heads, const at::Tensor& weight, double epsilon);

/// out [n, columns] = silu(gate) · up of gate_up [n, 2·columns], the gate first.
void gate(const at::Tensor& gate_up, const at::Tensor& out);

/// The rotation of the heads at consecutive positions, on the model's device: cos and sin of each position, or the
/// frequencies where the CUDA kernels compute cos and sin themselves.
struct RotaryRows {
  at::Tensor cos;          // [positions, rotary_dim / 2] float32, multiplied by m; undefined with frequencies
  at::Tensor sin;          // the same shape
  at::Tensor frequencies;  // [2, rotary_dim / 2] f_i and f_i/λ_i, float64 or (hf_fp32) float32; undefined with cos
  double attention = 1.0;  // m; this field and the next two belong to `frequencies`
  std::int64_t n_hat = 0;  // positions from here on take f_i/λ_i and m
  std::int64_t first = 0;  // position of row 0
  std::int64_t sequence_tokens = 0;  // tokens of one of several sequences in a row: positions begin again; 0: one
};

/// The rotation of positions [begin, begin + count).
[[nodiscard]] RotaryRows rotary_rows(const RotaryFrequencies& frequencies, std::int64_t begin, std::int64_t count,
                                     at::Device device);

/// Rows [first, first + count) of a rotation; views.
[[nodiscard]] RotaryRows rows_of(const RotaryRows& rotary, std::int64_t first, std::int64_t count);

/// The transposed rotation (same m), for gradients.
[[nodiscard]] RotaryRows transposed(const RotaryRows& rotary);

/// Rotates pair i = channels (i, i + rotary_dim/2) of every head by its angle, in place (half-split layout, spec §1);
/// channels from rotary_dim on stay. Computed in float32 and rounded once to the dtype of `heads` [n, heads, head_dim],
/// which lie side by side: strides (any, head_dim, 1).
void rotate(const at::Tensor& heads, const RotaryRows& rotary);

}  // namespace longrope

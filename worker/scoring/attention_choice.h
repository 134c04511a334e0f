#pragma once

#include "worker/model/placement.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace longrope {

/// The heads of a model's attention.
struct AttentionHeads {
  std::int64_t query_heads;
  std::int64_t key_value_heads;
  std::int64_t head_dim;
};

/// Torch's kernels for a CUDA device, by preference. `capability` is the device's compute capability, 90 for 9.0. A
/// table, never a timing: two workers of one kind must give the same bits. Throws InputError for a head_dim that none
/// takes.
[[nodiscard]] std::vector<const FusedAttention*> device_attention(std::int64_t capability, at::ScalarType dtype,
                                                                  const AttentionHeads& heads);

/// Attention as attend_causal() computes it, in double precision and with a full matrix [n, m] for each head.
[[nodiscard]] at::Tensor exact_attention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                                         std::int64_t window);

/// Some queries at the end of many keys, at which kernels have been wrong without saying so.
struct AttentionCase {
  std::int64_t queries;
  std::int64_t keys;
  std::int64_t window;
};
/// The largest difference of attend_causal() from exact_attention() on random numbers, as a share of the largest exact
/// value. Throws what the kernel throws.
[[nodiscard]] double attention_error(const FusedAttention& kernel, const AttentionHeads& heads,
                                     const AttentionCase& attention, const at::TensorOptions& options);
/// What a kernel that is right stays below.
[[nodiscard]] double tolerated_attention_error(at::ScalarType dtype);

struct AttentionChoice {
  const FusedAttention* kernel;
  std::string description;  // its name, and why those before it are not used; empty on the CPU
};
/// The first of `kernels` that is right at a few cases, which takes up to two seconds on a device. Throws Error when
/// none is, naming each and what it did.
[[nodiscard]] AttentionChoice first_right_attention(std::span<const FusedAttention* const> kernels,
                                                    const AttentionHeads& heads, const at::TensorOptions& options);

/// The kernel for a model placed so, where there are no kernels of worker/kernels/. Throws as the functions above.
[[nodiscard]] AttentionChoice attention_on(const Placement& placement, const AttentionHeads& heads);

}  // namespace longrope

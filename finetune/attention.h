#pragma once

#include "worker/kernels/cpu_kernels.h"

#include <ATen/core/Tensor.h>

namespace longrope {

/// Exact causal attention of each sequence by itself, softmax(q·kᵀ/√D)·v, with its gradient. `queries` [B, T, H, D],
/// `keys` and `values` [B, T, K, D], any floating dtype; H is a multiple of K, query head h reads key-value head h / (H
/// / K). Result [B, T, H, D], that dtype. `kernels` compute, on the CPU, with the same bits for any number of threads;
/// they keep the arguments, the result and one float32 for each token and query head for the backward pass. nullptr:
/// Torch's do; on a CUDA device flash attention, in float32 the memory-efficient kernel, which takes at most 65,536
/// tokens (else InputError). Gradients on a device have the same bits each time while DeterministicAlgorithms lives.
[[nodiscard]] at::Tensor attended(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                                  const CpuKernels* kernels);

}  // namespace longrope

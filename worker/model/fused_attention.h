#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace longrope {

// Attention by the fused kernels of Torch: on CUDA devices, and on processors that the kernels of worker/kernels/ do
// not know. Queries [n, H, D], keys and values [m, K, D], any strides but the last, which is 1; H is a multiple of K,
// query head h reads key-value head h / (H / K). Weights are softmax(q·kᵀ/√D).

/// Attention over some of the keys, to be joined with that over others.
struct PartialAttention {
  at::Tensor out;       // [n, H, D], any floating dtype
  at::Tensor log_sums;  // [H, n] float32: the logarithm of each query's sum of exponentials
};

enum class KeyMask : std::uint8_t {
  kNone,    // every query sees every key
  kCausal,  // as many queries as keys, query i sees keys 0 to i
};

/// One of Torch's kernels. It has one of the two functions.
struct FusedAttention {
  std::string_view name;
  /// Attention of the last n of m positions over the `window` (0: all) up to and including their own: [n, H, D].
  at::Tensor (*attend_last)(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                            std::int64_t window) = nullptr;
  PartialAttention (*attend)(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                             KeyMask mask) = nullptr;
  /// Whether attend() takes H > K. Else K must be H.
  bool takes_groups = true;
  /// The most queries, and the most keys, of one call of attend().
  std::int64_t most_rows = std::int64_t{1} << 40;  // no limit
};

/// On the CPU, any dtype.
extern const FusedAttention kCpuAttention;
/// FlashAttention-2: bfloat16 and float16, head_dim a multiple of 8 up to 256.
extern const FusedAttention kFlashAttention;
/// cuDNN's: bfloat16 and float16, head_dim a multiple of 8 up to 128, more on some devices.
extern const FusedAttention kCudnnAttention;
/// The memory-efficient kernel of CUTLASS: float32 too. Beyond 65,536 keys it is wrong with a mask and with a causal
/// mask (pytorch #162588), and with keys of stride 0 and a mask (#191937): it is called with neither.
extern const FusedAttention kMemoryEfficientAttention;

/// A copy of key-value heads for each query head of their group, side by side: `heads` has K of them in `dimension`,
/// the result K·group. For kernels that take no groups; it has a gradient.
[[nodiscard]] at::Tensor for_each_query_head(const at::Tensor& heads, std::int64_t dimension, std::int64_t group);

/// Attention of the last n of m positions over the `window` (0: all) up to and including their own: [n, H, D]. Exact,
/// without a mask in memory: of a window, the part that all queries see, the causal triangle at its end and the
/// triangle at its beginning, which is causal when queries and keys are read backwards, are joined by their sums of
/// exponentials. The same bits for the same arguments; rows may differ in the last bits with n.
[[nodiscard]] at::Tensor attend_causal(const FusedAttention& kernel, const at::Tensor& queries, const at::Tensor& keys,
                                       const at::Tensor& values, std::int64_t window);

}  // namespace longrope

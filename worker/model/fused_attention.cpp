#include "worker/model/fused_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

namespace longrope {
namespace {

/// [n, heads, D] as [1, heads, n, D], the order of Torch's scaled_dot_product kernels, and back; views.
at::Tensor batch_of(const at::Tensor& heads) { return heads.transpose(0, 1).unsqueeze(0); }
at::Tensor rows_of_batch(const at::Tensor& batch) { return batch.squeeze(0).transpose(0, 1); }

PartialAttention attend_on_cpu(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                               KeyMask mask) {
  auto [out, log_sums] = at::_scaled_dot_product_flash_attention_for_cpu(
      batch_of(queries), batch_of(keys), batch_of(values), 0.0, mask == KeyMask::kCausal);
  return {rows_of_batch(out), log_sums.squeeze(0)};
}

PartialAttention attend_memory_efficiently(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                                           KeyMask mask) {
  const auto [out, log_sums, seed, offset] =
      at::_scaled_dot_product_efficient_attention(batch_of(queries), batch_of(keys), batch_of(values), /*attn_bias=*/{},
                                                  /*compute_log_sumexp=*/true, 0.0, mask == KeyMask::kCausal);
  return {rows_of_batch(out), log_sums.squeeze(0).narrow(-1, 0, queries.size(0))};  // filled up to a multiple of 32
}

PartialAttention attend_with_cudnn(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                                   KeyMask mask) {
  const auto result = at::_scaled_dot_product_cudnn_attention(batch_of(queries), batch_of(keys), batch_of(values),
                                                              /*attn_bias=*/{}, /*compute_log_sumexp=*/true, 0.0,
                                                              mask == KeyMask::kCausal);
  // [1, H, n, 1], or without the 1 at the end.
  return {rows_of_batch(std::get<0>(result)), std::get<1>(result).reshape({queries.size(1), queries.size(0)})};
}

at::Tensor attend_last_with_flash(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                                  std::int64_t window) {
  // Its causal mask ends at the last query and the last key.
  const auto result = at::_flash_attention_forward(
      queries.unsqueeze(0), keys.unsqueeze(0), values.unsqueeze(0), /*cum_seq_q=*/{}, /*cum_seq_k=*/{}, queries.size(0),
      keys.size(0), 0.0, /*is_causal=*/true, /*return_debug_mask=*/false, /*scale=*/std::nullopt,
      /*window_size_left=*/window > 0 ? std::optional(window - 1) : std::nullopt);
  return std::get<0>(result).squeeze(0);
}

/// kernel.attend() for any H. Without a mask, the queries of a group are further rows of its one head.
PartialAttention attend_grouped(const FusedAttention& kernel, const at::Tensor& queries, const at::Tensor& keys,
                                const at::Tensor& values, KeyMask mask) {
  const std::int64_t heads = keys.size(1);
  const std::int64_t group = queries.size(1) / heads;
  if (group == 1 || kernel.takes_groups) return kernel.attend(queries, keys, values, mask);
  const std::int64_t count = queries.size(0);
  const std::int64_t head_dim = queries.size(2);
  if (mask == KeyMask::kCausal) {
    return kernel.attend(queries, for_each_query_head(keys, 1, group), for_each_query_head(values, 1, group), mask);
  }
  const at::Tensor rows =
      queries.reshape({count, heads, group, head_dim}).transpose(1, 2).reshape({count * group, heads, head_dim});
  const PartialAttention part = kernel.attend(rows, keys, values, mask);
  return {part.out.reshape({count, group, heads, head_dim}).transpose(1, 2).reshape(queries.sizes()),
          part.log_sums.reshape({heads, count, group}).transpose(1, 2).reshape({heads * group, count})};
}

/// Attention over the keys of both, as if they had been one softmax.
PartialAttention joined(const PartialAttention& a, const PartialAttention& b) {
  const at::Tensor log_sums = at::logaddexp(a.log_sums, b.log_sums);
  const auto weighted = [&](const PartialAttention& part) {
    return part.out.to(at::kFloat) * (part.log_sums - log_sums).exp().t().unsqueeze(-1);
  };
  return {weighted(a).add_(weighted(b)), log_sums};
}

/// The triangle at the beginning of a window: query i of n sees keys i to n − 2 of n − 1, the last one none.
PartialAttention attend_beginning(const FusedAttention& kernel, const at::Tensor& queries, const at::Tensor& keys,
                                  const at::Tensor& values) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const PartialAttention part = attend_grouped(kernel, queries.narrow(0, 0, keys.size(0)).flip(0), keys.flip(0),
                                               values.flip(0), KeyMask::kCausal);
  const at::Tensor last = at::zeros_like(queries.narrow(0, 0, 1));
  return {at::cat({part.out.flip(0), last}), at::constant_pad_nd(part.log_sums.flip(1), {0, 1}, kNothing)};
}

}  // namespace

const FusedAttention kCpuAttention = {.name = "Torch's CPU attention", .attend = attend_on_cpu, .takes_groups = false};
const FusedAttention kFlashAttention = {.name = "flash attention", .attend_last = attend_last_with_flash};
// cuDNN makes a plan for each shape: with calls of bounded size there are few.
const FusedAttention kCudnnAttention = {.name = "cuDNN attention", .attend = attend_with_cudnn, .most_rows = 65'536};
const FusedAttention kMemoryEfficientAttention = {.name = "memory-efficient attention",
                                                  .attend = attend_memory_efficiently,
                                                  .takes_groups = false,
                                                  .most_rows = 32'768};

at::Tensor for_each_query_head(const at::Tensor& heads, std::int64_t dimension, std::int64_t group) {
  std::vector<std::int64_t> grouped = heads.sizes().vec();
  grouped.insert(grouped.begin() + dimension + 1, group);
  return heads.unsqueeze(dimension + 1).expand(grouped).flatten(dimension, dimension + 1);
}

at::Tensor attend_causal(const FusedAttention& kernel, const at::Tensor& queries, const at::Tensor& keys,
                         const at::Tensor& values, std::int64_t window) {
  const std::int64_t positions = keys.size(0);
  const std::int64_t first = positions - queries.size(0);
  if (kernel.attend_last != nullptr) {
    const std::int64_t unseen = window > 0 ? std::max<std::int64_t>(0, first + 1 - window) : 0;
    return kernel.attend_last(queries, keys.narrow(0, unseen, positions - unseen),
                              values.narrow(0, unseen, positions - unseen), window);
  }
  const std::int64_t group = queries.size(1) / keys.size(1);
  const std::int64_t most_queries =
      std::max<std::int64_t>(1, kernel.takes_groups ? kernel.most_rows : kernel.most_rows / group);
  std::vector<at::Tensor> pieces;
  for (std::int64_t begin = first; begin < positions;) {
    // Pieces in which either no query's window or every query's begins after position 0, and each query sees all others
    // before it.
    std::int64_t end = std::min(positions, begin + most_queries);
    if (window > 0) end = std::min(end, begin < window ? window : begin + window);
    const std::int64_t count = end - begin;
    const at::Tensor piece = queries.narrow(0, begin - first, count);
    const auto part = [&](std::int64_t from, std::int64_t to, const auto& attend) {
      return attend(kernel, piece, keys.narrow(0, from, to - from), values.narrow(0, from, to - from));
    };
    const auto with = [](KeyMask mask) {
      return [mask](const auto&... arguments) { return attend_grouped(arguments..., mask); };
    };
    PartialAttention result = part(begin, end, with(KeyMask::kCausal));
    const std::int64_t seen_by_all = window > 0 ? std::max<std::int64_t>(0, end - window) : 0;
    for (std::int64_t from = seen_by_all; from < begin; from += kernel.most_rows) {
      const std::int64_t to = begin - from > kernel.most_rows ? from + kernel.most_rows : begin;
      result = joined(result, part(from, to, with(KeyMask::kNone)));
    }
    if (seen_by_all > 0 && count > 1) {
      result = joined(result, part(begin + 1 - window, seen_by_all, attend_beginning));
    }
    pieces.push_back(result.out);
    begin = end;
  }
  return pieces.size() == 1 ? pieces.front() : at::cat(pieces);
}

}  // namespace longrope

#include "worker/model/key_value_cache.h"

#include "worker/kernels/tile_sizes.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

namespace longrope {
namespace {

std::int64_t pieces_of(std::int64_t tokens) { return (tokens + kAttentionPieceTokens - 1) / kAttentionPieceTokens; }

/// Attention over some keys, with the logarithm of each query's sum of exponentials, [..., n], to join it with others.
struct PartialAttention {
  at::Tensor out;
  at::Tensor log_sum;
};

/// Torch's fused kernels, which give the logarithm that scaled_dot_product_attention keeps for itself.
PartialAttention attend_with_torch(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                   bool is_causal) {
  if (query.is_cpu()) {
    auto [out, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, is_causal);
    return {out, log_sum};
  }
  if (query.scalar_type() == at::kFloat) {
    auto [out, log_sum, seed, offset] =
        at::_scaled_dot_product_efficient_attention(query, key, value, {}, /*compute_log_sumexp=*/true, 0.0, is_causal);
    return {out, log_sum.narrow(-1, 0, query.size(-2))};  // filled up to a multiple of 32
  }
  const auto result = at::_scaled_dot_product_flash_attention(query, key, value, 0.0, is_causal);
  return {std::get<0>(result), std::get<1>(result)};
}

/// Attention over the keys of both: exact, as if they had been one softmax.
at::Tensor joined(const PartialAttention& a, const PartialAttention& b) {
  const at::Tensor log_sum = at::logaddexp(a.log_sum, b.log_sum);
  const auto weighted = [&](const PartialAttention& part) {
    return part.out.to(at::kFloat) * (part.log_sum - log_sum).exp().unsqueeze(-1);
  };
  return weighted(a) + weighted(b);
}

}  // namespace

KeyValueCache::KeyValueCache(std::int64_t tokens, std::int64_t key_value_heads, std::int64_t head_dim,
                             const Placement& placement)
    : kernels_(kernels_for(placement)), head_dim_(head_dim) {
  if (kernels_ != nullptr) {
    const at::TensorOptions options = at::TensorOptions().dtype(kOperandTensor);
    const OperandType type = kernels_->operands;
    keys_ = at::empty({key_value_heads, key_operands(type, tokens, head_dim)}, options);
    values_ = at::empty({key_value_heads, value_operands(type, tokens, head_dim)}, options);
  } else {
    const at::TensorOptions options = at::TensorOptions().dtype(placement.arithmetic).device(placement.device);
    keys_ = at::empty({key_value_heads, tokens, head_dim}, options);
    values_ = at::empty({key_value_heads, tokens, head_dim}, options);
  }
}

std::int64_t KeyValueCache::pieces(std::int64_t tokens, std::int64_t key_value_heads, const Placement& placement) {
  return key_value_heads * (kernels_for(placement) != nullptr ? pieces_of(tokens) : 1);
}

void KeyValueCache::store(std::int64_t begin, const at::Tensor& keys, const at::Tensor& values) {
  const std::int64_t count = keys.size(0);
  if (kernels_ == nullptr) {
    keys_.narrow(1, begin, count).copy_(keys.transpose(0, 1));
    values_.narrow(1, begin, count).copy_(values.transpose(0, 1));
    return;
  }
  // Whole panels of positions, so that no two threads write parts of one operand.
  at::parallel_for(begin / kPanelColumns, panels(begin + count), 1, [&](std::int64_t first, std::int64_t last) {
    const std::int64_t position = std::max(begin, first * kPanelColumns);
    const std::int64_t end = std::min(begin + count, last * kPanelColumns);
    const auto head_rows = [&](const at::Tensor& tensor, std::int64_t head, const at::Tensor& out) {
      const float* const from =
          tensor.const_data_ptr<float>() + (position - begin) * tensor.stride(0) + head * tensor.stride(1);
      return HeadRows{.in = {from, tensor.stride(0), end - position},
                      .first_position = position,
                      .head_dim = head_dim_,
                      .out = out.data_ptr<std::int32_t>() + head * out.stride(0)};
    };
    for (std::int64_t head = 0; head < keys.size(1); ++head) {
      kernels_->store_keys(head_rows(keys, head, keys_));
      kernels_->store_values(head_rows(values, head, values_));
    }
  });
}

void KeyValueCache::attend(std::int64_t begin, const at::Tensor& queries, std::int64_t window, const at::Tensor& out,
                           const std::function<void()>& piece_finished) const {
  if (kernels_ != nullptr) {
    attend_with_kernels(begin, queries, window, out, piece_finished);
    return;
  }
  const std::int64_t count = queries.size(0);
  const std::int64_t key_value_heads = keys_.size(0);
  const std::int64_t group = queries.size(1) / key_value_heads;
  // One key-value head at a time: then its query heads share K and V by a zero stride, without a copy.
  for (std::int64_t head = 0; head < key_value_heads; ++head) {
    const at::Tensor query = queries.narrow(1, head * group, group).transpose(0, 1).unsqueeze(0);  // [1, group, n, D]
    const auto shared = [&](const at::Tensor& tensor, std::int64_t first, std::int64_t length) {
      return tensor[head].narrow(0, first, length).expand({1, group, length, head_dim_});
    };
    at::Tensor result;
    if (window > 0 && window < begin + count) {
      const std::int64_t first = std::max<std::int64_t>(0, begin + 1 - window);
      const std::int64_t length = begin + count - first;
      // Key column c of query row r is (begin + r) − (first + c) positions back: wanted from 0 to window − 1.
      const std::int64_t own = begin - first;
      const at::Tensor mask =
          at::ones({count, length}, queries.options().dtype(at::kBool)).tril(own).triu(own - window + 1);
      result =
          at::scaled_dot_product_attention(query, shared(keys_, first, length), shared(values_, first, length), mask);
    } else {
      PartialAttention own = attend_with_torch(query, shared(keys_, begin, count), shared(values_, begin, count), true);
      result = begin == 0
                   ? own.out
                   : joined(own, attend_with_torch(query, shared(keys_, 0, begin), shared(values_, 0, begin), false));
    }
    out.narrow(1, head * group, group).copy_(result[0].transpose(0, 1));
    piece_finished();
  }
}

void KeyValueCache::attend_with_kernels(std::int64_t begin, const at::Tensor& queries, std::int64_t window,
                                        const at::Tensor& out, const std::function<void()>& piece_finished) const {
  const std::int64_t count = queries.size(0);
  const std::int64_t key_value_heads = keys_.size(0);
  const std::int64_t group = queries.size(1) / key_value_heads;
  const std::int64_t per_head = pieces_of(count);
  at::parallel_for(0, key_value_heads * per_head, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t task = first; task < last; ++task) {
      const std::int64_t head = task / per_head;
      const std::int64_t token = task % per_head * kAttentionPieceTokens;
      const std::int64_t channel = head * group * head_dim_;
      kernels_->attend({.query = {queries.const_data_ptr<float>() + token * queries.stride(0) + channel,
                                  queries.stride(0), std::min(kAttentionPieceTokens, count - token)},
                        .first_position = begin + token,
                        .heads = group,
                        .head_dim = head_dim_,
                        .keys = keys_.const_data_ptr<std::int32_t>() + head * keys_.stride(0),
                        .values = values_.const_data_ptr<std::int32_t>() + head * values_.stride(0),
                        .window = window,
                        .scale = attention_scale(head_dim_),
                        .out = {out.data_ptr<float>() + token * out.stride(0) + channel, out.stride(0)}});
      piece_finished();
    }
  });
}

}  // namespace longrope

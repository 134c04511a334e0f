#include "worker/model/key_value_cache.h"

#include "worker/kernels/tile_sizes.h"
#include "worker/model/cuda_placement.h"
#include "worker/model/cuda_rotation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

namespace longrope {
namespace {

std::int64_t pieces_of(std::int64_t tokens) { return (tokens + kAttentionPieceTokens - 1) / kAttentionPieceTokens; }

}  // namespace

KeyValueCache::KeyValueCache(std::int64_t tokens, std::int64_t key_value_heads, std::int64_t head_dim,
                             const Placement& placement)
    : kernels_(kernels_for(placement)), attention_(placement.attention), heads_(key_value_heads), head_dim_(head_dim) {
  if (kernels_ != nullptr) {
    const at::TensorOptions options = at::TensorOptions().dtype(kOperandTensor);
    const OperandType type = kernels_->operands;
    keys_ = at::empty({key_value_heads, key_operands(type, tokens, head_dim)}, options);
    values_ = at::empty({key_value_heads, value_operands(type, tokens, head_dim)}, options);
  } else {
    const at::TensorOptions options = at::TensorOptions().dtype(placement.arithmetic).device(placement.device);
    keys_ = at::empty({tokens, key_value_heads, head_dim}, options);
    values_ = at::empty({tokens, key_value_heads, head_dim}, options);
  }
}

std::int64_t KeyValueCache::pieces(std::int64_t tokens, std::int64_t key_value_heads, const Placement& placement) {
  return kernels_for(placement) != nullptr ? key_value_heads * pieces_of(tokens) : 1;
}

void KeyValueCache::store(std::int64_t begin, const at::Tensor& keys, const at::Tensor& values) {
  const std::int64_t count = keys.size(0);
  if (kernels_ == nullptr) {
    keys_.narrow(0, begin, count).copy_(keys);
    values_.narrow(0, begin, count).copy_(values);
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

void KeyValueCache::rotate_and_store(std::int64_t begin, const at::Tensor& heads, const RotaryRows& rotary) {
  const std::int64_t turned = heads.size(1) - heads_;
  const at::Tensor queries_and_keys = heads.narrow(1, 0, turned);
  if (const CudaKernels* const kernels = cuda_kernels_for(heads.device())) {
    const std::int64_t count = heads.size(0);
    rotate_on_cuda(*kernels, queries_and_keys, rotary,
                   {.keys = keys_.narrow(0, begin, count), .values = values_.narrow(0, begin, count)});
    return;
  }
  rotate(queries_and_keys, rotary);
  store(begin, heads.narrow(1, turned - heads_, heads_), heads.narrow(1, turned, heads_));
}

void KeyValueCache::attend(std::int64_t begin, const at::Tensor& queries, std::int64_t window, const at::Tensor& out,
                           const std::function<void()>& piece_finished, const at::Tensor& log_sums) const {
  if (kernels_ != nullptr) {
    attend_with_kernels(begin, queries, window, out, piece_finished, log_sums);
    return;
  }
  const std::int64_t positions = begin + queries.size(0);
  out.copy_(
      attend_causal(*attention_, queries, keys_.narrow(0, 0, positions), values_.narrow(0, 0, positions), window));
  piece_finished();
}

void KeyValueCache::attend_with_kernels(std::int64_t begin, const at::Tensor& queries, std::int64_t window,
                                        const at::Tensor& out, const std::function<void()>& piece_finished,
                                        const at::Tensor& log_sums) const {
  const std::int64_t count = queries.size(0);
  const std::int64_t group = queries.size(1) / heads_;
  const std::int64_t per_head = pieces_of(count);
  at::parallel_for(0, heads_ * per_head, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t task = first; task < last; ++task) {
      const std::int64_t head = task / per_head;
      const std::int64_t token = task % per_head * kAttentionPieceTokens;
      const std::int64_t channel = head * group * head_dim_;
      Rows sums;
      if (log_sums.defined()) {
        sums = {log_sums.data_ptr<float>() + token * log_sums.stride(0) + head * group, log_sums.stride(0)};
      }
      kernels_->attend({.query = {queries.const_data_ptr<float>() + token * queries.stride(0) + channel,
                                  queries.stride(0), std::min(kAttentionPieceTokens, count - token)},
                        .first_position = begin + token,
                        .heads = group,
                        .head_dim = head_dim_,
                        .keys = keys_.const_data_ptr<std::int32_t>() + head * keys_.stride(0),
                        .values = values_.const_data_ptr<std::int32_t>() + head * values_.stride(0),
                        .window = window,
                        .scale = attention_scale(head_dim_),
                        .out = {out.data_ptr<float>() + token * out.stride(0) + channel, out.stride(0)},
                        .log_sums = sums});
      piece_finished();
    }
  });
}

}  // namespace longrope

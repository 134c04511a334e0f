#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace longrope {

/// Exact causal attention of a whole document: softmax(q·kᵀ/√head_dim)·v, key position ≤ query position. Query head h
/// reads key-value head h / (H / K). K = key_value_heads, H = query_heads, T = tokens, D = head_dim.
/// `query` [H, T, D] is overwritten with the result; `key`, `value` [K, T, D]; one floating dtype, last stride 1.
/// Fused (no T×T matrix); memory beyond the arguments: the output of the heads computed at once, at most H·T·D and
/// for long documents H/K·T·D elements. `tile_finished` is called after each such group of heads.
void causal_attention_in_place(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                               const std::function<void()>& tile_finished);

}  // namespace longrope

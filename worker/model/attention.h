#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace longrope {

/// Exact causal attention of a whole document: softmax(q·kᵀ/√head_dim)·v over the last `sliding_window` positions up to
/// and including the query's own; 0: all of them. Query head h reads key-value head h / (H / K).
/// K = key_value_heads, H = query_heads, T = tokens, D = head_dim.
/// `query` [H, T, D] is overwritten with the result; `key`, `value` [K, T, D]; one floating dtype, last stride 1.
/// Fused (no T×T matrix); memory beyond the arguments: the output of the heads computed at once, at most H·T·D and
/// for long documents H/K·T·D elements; with a window one tile of queries and its mask. `tile_finished` is called after
/// each such group of heads.
void causal_attention_in_place(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                               std::int64_t sliding_window, const std::function<void()>& tile_finished);

}  // namespace longrope

#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace longrope {

/// Negative log-likelihood in nats of one target per row: log Σ exp(logits) − logits[target], logits = hidden·headᵀ.
/// N = rows, V = vocabulary. `rows(begin, count)` gives rows [begin, begin + count) of the normed hidden states,
/// [count, hidden], in the dtype to compute in; it is called once per tile of rows and tile of vocabulary.
/// `output_embedding` [V, hidden] in any floating dtype; `targets` [N] int64 in [0, V).
/// Returns [N] float32. No [N, V] tensor exists: log-sum-exp runs in float32 over tiles of the vocabulary.
[[nodiscard]] at::Tensor token_nll(const std::function<at::Tensor(std::int64_t begin, std::int64_t count)>& rows,
                                   const at::Tensor& output_embedding, at::ScalarType arithmetic,
                                   const at::Tensor& targets, const std::function<void()>& tile_finished);

}  // namespace longrope

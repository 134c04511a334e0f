#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace longrope {

struct TokenScores {
  at::Tensor nll;        // [N] float32, nats: log Σ exp(logits) − logits[target]
  at::Tensor is_argmax;  // [N] bool: no logit is larger than the target's, and no lower id has the same
};

/// Scores of one target per row; logits = hidden·headᵀ. N = rows, V = vocabulary. `rows(begin, count)` gives rows
/// [begin, begin + count) of the normed hidden states, [count, hidden], in the dtype to compute in; it is called once
/// per tile of rows and tile of vocabulary.
/// `output_embedding` [V, hidden] in any floating dtype; `targets` [N] int64 in [0, V).
/// No [N, V] tensor exists: log-sum-exp and argmax run in float32 over tiles of the vocabulary.
[[nodiscard]] TokenScores token_nll(const std::function<at::Tensor(std::int64_t begin, std::int64_t count)>& rows,
                                    const at::Tensor& output_embedding, at::ScalarType arithmetic,
                                    const at::Tensor& targets, const std::function<void()>& tile_finished);

/// How often token_nll calls `tile_finished`.
[[nodiscard]] std::int64_t token_nll_tiles(std::int64_t rows, std::int64_t vocabulary);

}  // namespace longrope

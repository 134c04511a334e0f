#pragma once

#include "worker/model/placement.h"
#include "worker/model/projection.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace longrope {

/// One score per row. The tensors lie on the host where the kernels of worker/kernels/ compute, else on the model's
/// device.
struct TokenScores {
  at::Tensor nll;        // [N] float32, nats: log Σ exp(logits) − logits[target]
  at::Tensor is_argmax;  // [N] bool: no logit is larger than the target's, and no lower id has the same
  at::Tensor log_sums;   // [N] float32: log Σ exp(logits)
};

/// Rows [first, first + count) of a matrix [·, hidden].
using MatrixRows = std::function<at::Tensor(std::int64_t first, std::int64_t count)>;
/// The map from hidden states to the logits of words [first, first + count) of the vocabulary.
using OutputProjection = std::function<Projection(std::int64_t first, std::int64_t count)>;

/// Scores of one target per row; logits = hidden·headᵀ. N = rows, V = vocabulary. `hidden` gives rows of the normed
/// hidden states in the arithmetic dtype; both are asked for tiles, the vocabulary outermost. `targets` [N] int64 in
/// [0, V). No [N, V] tensor exists: log-sum-exp, the target's logit and the argmax come out of one pass over each tile,
/// in float32. On the CPU kernels a row's scores have the same bits whatever other rows there are, for any number of
/// threads.
[[nodiscard]] TokenScores token_nll(const MatrixRows& hidden, const OutputProjection& head, std::int64_t vocabulary,
                                    const at::Tensor& targets, const Placement& placement,
                                    const std::function<void()>& tile_finished);

/// Gradients of each row's NLL with respect to its hidden state, [N, hidden] float32: Σ (softmax(logits) −
/// target)·head. The arguments are those of token_nll(), `log_sums` what it gave; logits are computed again, tile by
/// tile. On the CPU only. The same bits as token_nll() promises.
[[nodiscard]] at::Tensor token_nll_gradient(const MatrixRows& hidden, const OutputProjection& head,
                                            std::int64_t vocabulary, const at::Tensor& targets,
                                            const at::Tensor& log_sums, const Placement& placement,
                                            const std::function<void()>& tile_finished);

/// How often token_nll calls `tile_finished`, and token_nll_gradient.
[[nodiscard]] std::int64_t token_nll_tiles(std::int64_t rows, std::int64_t vocabulary, const Placement& placement);

}  // namespace longrope

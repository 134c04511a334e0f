#include "worker/scoring/token_nll.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "worker/model/projection.h"

namespace longrope {
namespace {

// One tile of logits is 12 MiB of float32: it stays in cache between the product and the sums.
constexpr std::int64_t kRowTile = 768;
constexpr std::int64_t kVocabularyTile = 4096;
constexpr std::int64_t kRowsPerTask = 16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::int64_t tiles(std::int64_t count, std::int64_t tile) { return (count + tile - 1) / tile; }

/// Calls take(logits, first row, first column) for every tile of logits, in the order of columns for each row.
template <typename Take>
void for_each_tile(const MatrixRows& hidden, const MatrixRows& head, std::int64_t rows, std::int64_t vocabulary,
                   const Placement& placement, const std::function<void()>& tile_finished, const Take& take) {
  const at::Tensor buffer = at::empty({std::min(rows, kRowTile), std::min(vocabulary, kVocabularyTile)},
                                      at::TensorOptions().dtype(placement.arithmetic).device(placement.device));
  // Vocabulary outermost: each part of the matrix is brought into the arithmetic dtype once per document.
  for (std::int64_t first = 0; first < vocabulary; first += kVocabularyTile) {
    const std::int64_t width = std::min(kVocabularyTile, vocabulary - first);
    const Projection projection(head(first, width), {}, placement);
    for (std::int64_t begin = 0; begin < rows; begin += kRowTile) {
      const std::int64_t count = std::min(kRowTile, rows - begin);
      const at::Tensor logits = buffer.view({-1}).narrow(0, 0, count * width).view({count, width});
      projection.write(hidden(begin, count), logits);
      take(logits, begin, first);
      tile_finished();
    }
  }
}

}  // namespace

std::int64_t token_nll_tiles(std::int64_t rows, std::int64_t vocabulary) {
  return tiles(rows, kRowTile) * tiles(vocabulary, kVocabularyTile);
}

TokenScores token_nll(const MatrixRows& hidden, const MatrixRows& head, std::int64_t vocabulary,
                      const at::Tensor& targets, const Placement& placement,
                      const std::function<void()>& tile_finished) {
  const std::int64_t rows = targets.size(0);
  if (const CpuKernels* const kernels = kernels_for(placement.device, placement.arithmetic)) {
    const auto* const target = targets.const_data_ptr<std::int64_t>();
    std::vector<LogitState> states(static_cast<std::size_t>(rows), LogitState{-kInfinity, 0.0F, 0.0F, -1});
    for_each_tile(hidden, head, rows, vocabulary, placement, tile_finished,
                  [&](const at::Tensor& logits, std::int64_t begin, std::int64_t first) {
                    at::parallel_for(0, logits.size(0), kRowsPerTask, [&](std::int64_t from, std::int64_t to) {
                      kernels->add_logits(
                          {logits.const_data_ptr<float>() + from * logits.stride(0), logits.stride(0), to - from},
                          first, logits.size(1), target + begin + from, states.data() + begin + from);
                    });
                  });
    const TokenScores scores{.nll = at::empty({rows}, at::TensorOptions().dtype(at::kFloat)),
                             .is_argmax = at::empty({rows}, at::TensorOptions().dtype(at::kBool))};
    for (std::int64_t row = 0; row < rows; ++row) {
      const LogitState& state = states[static_cast<std::size_t>(row)];
      scores.nll.data_ptr<float>()[row] = state.largest + std::log(state.exponentials) - state.target_logit;
      scores.is_argmax.data_ptr<bool>()[row] = state.argmax == target[row];
    }
    return scores;
  }

  const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat).device(placement.device);
  const at::Tensor largest = at::full({rows}, -kInfinity, options);
  const at::Tensor exponentials = at::zeros({rows}, options);
  const at::Tensor target_logits = at::zeros({rows}, options);
  const at::Tensor is_argmax = at::zeros({rows}, options.dtype(at::kBool));
  for_each_tile(hidden, head, rows, vocabulary, placement, tile_finished,
                [&](const at::Tensor& product, std::int64_t begin, std::int64_t first) {
                  const std::int64_t count = product.size(0);
                  const at::Tensor logits = product.to(at::kFloat);
                  const at::Tensor column = targets.narrow(0, begin, count) - first;
                  const at::Tensor here = column.ge(0).logical_and_(column.lt(logits.size(1)));
                  const at::Tensor chosen =
                      logits.gather(1, column.clamp(0, logits.size(1) - 1).unsqueeze(1)).squeeze(1);
                  const at::Tensor target_rows = target_logits.narrow(0, begin, count);
                  target_rows.copy_(at::where(here, chosen, target_rows));

                  const at::Tensor largest_rows = largest.narrow(0, begin, count);
                  const at::Tensor exponential_rows = exponentials.narrow(0, begin, count);
                  const auto [tile_largest, tile_argmax] = logits.max(1);
                  // A later tile has higher ids: it must be larger, not equal.
                  const at::Tensor argmax_rows = is_argmax.narrow(0, begin, count);
                  argmax_rows.copy_(at::where(tile_largest.gt(largest_rows), tile_argmax.eq(column), argmax_rows));
                  const at::Tensor new_largest = at::maximum(largest_rows, tile_largest);
                  exponential_rows.mul_(at::exp(largest_rows - new_largest))
                      .add_((logits - new_largest.unsqueeze(1)).exp_().sum(1));
                  largest_rows.copy_(new_largest);
                });
  return {.nll = largest + exponentials.log() - target_logits, .is_argmax = is_argmax};
}

}  // namespace longrope

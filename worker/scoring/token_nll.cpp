#include "worker/scoring/token_nll.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace longrope {
namespace {

// One tile of logits is 16 MiB of float32: it stays in cache between the product and the sums.
constexpr std::int64_t kRowTile = 512;
constexpr std::int64_t kVocabularyTile = 8192;

}  // namespace

std::int64_t token_nll_tiles(std::int64_t rows, std::int64_t vocabulary) {
  return ((rows + kRowTile - 1) / kRowTile) * ((vocabulary + kVocabularyTile - 1) / kVocabularyTile);
}

TokenScores token_nll(const std::function<at::Tensor(std::int64_t begin, std::int64_t count)>& rows,
                      const at::Tensor& output_embedding, at::ScalarType arithmetic, const at::Tensor& targets,
                      const std::function<void()>& tile_finished) {
  const std::int64_t row_count = targets.size(0);
  const std::int64_t vocabulary = output_embedding.size(0);
  const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat).device(output_embedding.device());
  // Running over vocabulary tiles, per row: the largest logit, Σ exp(logit − largest), and the target's logit.
  const at::Tensor largest = at::full({row_count}, -std::numeric_limits<float>::infinity(), options);
  const at::Tensor exponentials = at::zeros({row_count}, options);
  const at::Tensor target_logits = at::zeros({row_count}, options);
  const at::Tensor is_argmax = at::zeros({row_count}, options.dtype(at::kBool));
  at::Tensor buffer =
      at::empty({std::min(row_count, kRowTile), std::min(vocabulary, kVocabularyTile)}, options.dtype(arithmetic));

  // Vocabulary outermost: each part of the matrix is converted to the arithmetic dtype once per document.
  for (std::int64_t first = 0; first < vocabulary; first += kVocabularyTile) {
    const std::int64_t width = std::min(kVocabularyTile, vocabulary - first);
    const at::Tensor embedding = output_embedding.narrow(0, first, width).to(arithmetic).t();
    for (std::int64_t begin = 0; begin < row_count; begin += kRowTile) {
      const std::int64_t count = std::min(kRowTile, row_count - begin);
      at::Tensor product = buffer.view({-1}).narrow(0, 0, count * width).view({count, width});
      at::mm_out(product, rows(begin, count), embedding);
      const at::Tensor logits = product.to(at::kFloat);

      const at::Tensor column = targets.narrow(0, begin, count) - first;
      const at::Tensor here = column.ge(0).logical_and_(column.lt(width));
      const at::Tensor chosen = logits.gather(1, column.clamp(0, width - 1).unsqueeze(1)).squeeze(1);
      const at::Tensor target_rows = target_logits.narrow(0, begin, count);
      target_rows.copy_(at::where(here, chosen, target_rows));

      const at::Tensor largest_rows = largest.narrow(0, begin, count);
      const at::Tensor exponential_rows = exponentials.narrow(0, begin, count);
      const at::Tensor tile_largest = logits.amax(1);
      const at::Tensor new_largest = at::maximum(largest_rows, tile_largest);
      const at::Tensor hits = here.logical_and(chosen.eq(tile_largest));
      const at::Tensor maybe = hits.nonzero().squeeze(1);  // few rows: argmax is much slower than amax
      hits.index_copy_(0, maybe, logits.index_select(0, maybe).argmax(1).eq(column.index_select(0, maybe)));
      // A later tile has higher ids: it must be larger, not equal.
      const at::Tensor argmax_rows = is_argmax.narrow(0, begin, count);
      argmax_rows.copy_(at::where(tile_largest.gt(largest_rows), hits, argmax_rows));
      exponential_rows.mul_(at::exp(largest_rows - new_largest))
          .add_(logits.sub_(new_largest.unsqueeze(1)).exp_().sum(1));
      largest_rows.copy_(new_largest);
      tile_finished();
    }
  }
  return {.nll = largest + exponentials.log() - target_logits, .is_argmax = is_argmax};
}

}  // namespace longrope

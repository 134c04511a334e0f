#include "worker/model/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>

namespace longrope {
namespace {

// Query rows (tokens × heads) handed to one call of the fused kernel. Short documents go in one call, because the
// kernel divides heads among threads and few heads divide unevenly; long ones by key-value head, because each call
// holds its output and progress is seen only between calls.
constexpr std::int64_t kQueryRowsPerCall = std::int64_t{1} << 17;
// Queries that share one mask where there is a window: narrow enough to leave out most keys outside all their windows.
constexpr std::int64_t kWindowTile = 256;

/// `query` [..., T, D] becomes the attention to at most `window` positions; `key` and `value` [..., T, D].
void attend_within_window(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          std::int64_t window) {
  const std::int64_t tokens = query.size(-2);
  for (std::int64_t begin = 0; begin < tokens; begin += kWindowTile) {
    const std::int64_t count = std::min(kWindowTile, tokens - begin);
    const std::int64_t first_key = std::max<std::int64_t>(0, begin - window + 1);
    const std::int64_t key_count = begin + count - first_key;
    // Key column c of query row r is (begin + r) − (first_key + c) positions back: wanted from 0 to window − 1.
    const std::int64_t own = begin - first_key;
    const at::Tensor mask =
        at::ones({count, key_count}, query.options().dtype(at::kBool)).tril(own).triu(own - window + 1);
    const at::Tensor tile = query.narrow(-2, begin, count);
    tile.copy_(at::scaled_dot_product_attention(tile, key.narrow(-2, first_key, key_count),
                                                value.narrow(-2, first_key, key_count), mask));
  }
}

}  // namespace

void causal_attention_in_place(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                               std::int64_t sliding_window, const std::function<void()>& tile_finished) {
  const std::int64_t tokens = query.size(1);
  const std::int64_t head_dim = query.size(2);
  const std::int64_t key_value_heads = key.size(0);
  const std::int64_t group = query.size(0) / key_value_heads;
  const std::int64_t heads_per_call =
      std::clamp<std::int64_t>(kQueryRowsPerCall / (tokens * group), 1, key_value_heads);
  for (std::int64_t begin = 0; begin < key_value_heads; begin += heads_per_call) {
    const std::int64_t count = std::min(heads_per_call, key_value_heads - begin);
    // Key-value heads as the batch: then grouped queries share K and V by a zero stride, without a copy.
    const at::Tensor q = query.narrow(0, begin * group, count * group).view({count, group, tokens, head_dim});
    const auto shared = [&](const at::Tensor& tensor) {
      return tensor.narrow(0, begin, count).unsqueeze(1).expand({count, group, tokens, head_dim});
    };
    if (sliding_window > 0 && sliding_window < tokens) {
      attend_within_window(q, shared(key), shared(value), sliding_window);
    } else {
      q.copy_(at::scaled_dot_product_attention(q, shared(key), shared(value), /*attn_mask=*/{}, /*dropout_p=*/0.0,
                                               /*is_causal=*/true));
    }
    tile_finished();
  }
}

}  // namespace longrope

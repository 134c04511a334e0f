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

}  // namespace

void causal_attention_in_place(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                               const std::function<void()>& tile_finished) {
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
    q.copy_(at::scaled_dot_product_attention(q, shared(key), shared(value), /*attn_mask=*/{}, /*dropout_p=*/0.0,
                                             /*is_causal=*/true));
    tile_finished();
  }
}

}  // namespace longrope

#include "worker/model/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

namespace longrope {
namespace {

struct Case {
  std::int64_t query_heads;
  std::int64_t key_value_heads;
  std::int64_t tokens;
  std::int64_t head_dim;
  std::int64_t sliding_window = 0;
};

class AttentionTest : public ::testing::TestWithParam<Case> {};

/// softmax(q·kᵀ/√D)·v by a full matrix in double precision, one head at a time.
at::Tensor reference(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     std::int64_t sliding_window) {
  const std::int64_t tokens = query.size(1);
  const std::int64_t group = query.size(0) / key.size(0);
  const at::Tensor position = at::arange(tokens);
  const at::Tensor back = position.unsqueeze(1) - position;  // how far the key lies behind the query
  at::Tensor unseen = back.lt(0);
  if (sliding_window > 0) unseen = unseen.logical_or(back.ge(sliding_window));
  at::Tensor result = at::empty(query.sizes(), at::TensorOptions().dtype(at::kDouble));
  for (std::int64_t head = 0; head < query.size(0); ++head) {
    const at::Tensor scores = at::mm(query[head].to(at::kDouble), key[head / group].to(at::kDouble).t()) /
                              std::sqrt(static_cast<double>(query.size(2)));
    const at::Tensor weights = at::softmax(scores.masked_fill(unseen, -INFINITY), 1);
    result[head].copy_(at::mm(weights, value[head / group].to(at::kDouble)));
  }
  return result;
}

TEST_P(AttentionTest, AgreesWithFullMatrixInDoublePrecision) {
  const Case shape = GetParam();
  at::manual_seed(2);
  const at::Tensor query = at::randn({shape.query_heads, shape.tokens, shape.head_dim});
  const at::Tensor key = at::randn({shape.key_value_heads, shape.tokens, shape.head_dim});
  const at::Tensor value = at::randn({shape.key_value_heads, shape.tokens, shape.head_dim});
  const at::Tensor expected = reference(query, key, value, shape.sliding_window);
  std::int64_t tiles = 0;
  causal_attention_in_place(query, key, value, shape.sliding_window, [&] { ++tiles; });
  EXPECT_GE(tiles, 1);
  EXPECT_LT((query.to(at::kDouble) - expected).abs().max().item<double>(), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionTest,
                         ::testing::Values(Case{1, 1, 1, 64}, Case{4, 4, 7, 64}, Case{4, 2, 257, 64},
                                           Case{8, 2, 513, 96}, Case{6, 3, 1030, 16}, Case{3, 1, 800, 128},
                                           Case{4, 2, 257, 64, 1}, Case{4, 2, 600, 16, 7}, Case{4, 2, 600, 16, 256},
                                           Case{2, 1, 1030, 16, 257}, Case{2, 2, 300, 16, 299},
                                           Case{2, 2, 300, 16, 300}, Case{2, 2, 300, 16, 4096}));

TEST(AttentionGroupTest, LongDocumentsGoByKeyValueHeadWithTheSameResult) {
  // 32,769 tokens × 2 heads each exceed one call's rows only together. Value rows equal their head's number, so any
  // softmax gives exactly that number and a mixed-up head shows.
  const std::int64_t tokens = 32769;
  const at::Tensor query = at::ones({4, tokens, 1});
  const at::Tensor key = at::zeros({2, tokens, 1});
  const at::Tensor value = at::arange(1, 3).to(at::kFloat).view({2, 1, 1}).expand({2, tokens, 1}).contiguous();
  std::int64_t tiles = 0;
  causal_attention_in_place(query, key, value, /*sliding_window=*/0, [&] { ++tiles; });
  EXPECT_EQ(tiles, 2);
  for (std::int64_t head = 0; head < 4; ++head) {
    const double number = head < 2 ? 1.0 : 2.0;
    EXPECT_LT((query[head] - number).abs().max().item<double>(), 1e-5) << "head " << head;
  }
}

}  // namespace
}  // namespace longrope

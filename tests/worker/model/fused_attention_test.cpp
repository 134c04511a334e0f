#include "worker/model/fused_attention.h"

#include "worker/scoring/attention_choice.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace longrope {
namespace {

/// A stand-in for kernels of CUDA devices that take groups: a full matrix in double precision.
PartialAttention attend_grouped_heads(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                                      KeyMask mask) {
  const std::int64_t group = queries.size(1) / keys.size(1);
  const auto heads = [](const at::Tensor& rows) { return rows.to(at::kDouble).transpose(0, 1); };
  at::Tensor scores = at::bmm(heads(queries), heads(keys.repeat_interleave(group, 1)).transpose(1, 2)) /
                      std::sqrt(static_cast<double>(queries.size(2)));
  if (mask == KeyMask::kCausal) {
    EXPECT_EQ(queries.size(0), keys.size(0));
    scores = scores.masked_fill(at::ones_like(scores, at::kBool).triu(1), -INFINITY);
  }
  const at::Tensor out = at::bmm(at::softmax(scores, 2), heads(values.repeat_interleave(group, 1)));
  return {out.transpose(0, 1).to(at::kFloat), at::logsumexp(scores, 2).to(at::kFloat)};
}

/// A stand-in for flash attention: what it is given ends with the last query.
at::Tensor attend_last_exactly(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                               std::int64_t window) {
  if (window > 0) {
    EXPECT_LT(keys.size(0), window + queries.size(0)) << "keys that no query sees are left out";
  }
  return exact_attention(queries, keys, values, window);
}

struct Case {
  std::int64_t query_heads;
  std::int64_t key_value_heads;
  std::int64_t queries;
  std::int64_t keys;
  std::int64_t window;
};
std::ostream& operator<<(std::ostream& out, const Case& test) {
  return out << test.query_heads << "/" << test.key_value_heads << " heads, " << test.queries << " of " << test.keys
             << " positions, window " << test.window;
}

class FusedAttentionTest : public ::testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] double error_of(const FusedAttention& kernel) const {
    const Case shape = GetParam();
    at::manual_seed(11);
    return attention_error(kernel,
                           {.query_heads = shape.query_heads, .key_value_heads = shape.key_value_heads, .head_dim = 16},
                           {.queries = shape.queries, .keys = shape.keys, .window = shape.window}, at::kFloat);
  }
};

TEST_P(FusedAttentionTest, JoinedCallsAreOneSoftmax) {
  EXPECT_LT(error_of(kCpuAttention), 1e-5);
  EXPECT_LT(error_of({.name = "groups", .attend = attend_grouped_heads}), 1e-5);
}

TEST_P(FusedAttentionTest, NoCallIsLargerThanTheKernelTakes) {
  static constexpr std::int64_t kMost = 48;
  const auto within = [](const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, KeyMask mask) {
    EXPECT_LE(queries.size(0), kMost);
    EXPECT_LE(keys.size(0), kMost);
    return kCpuAttention.attend(queries, keys, values, mask);
  };
  EXPECT_LT(error_of({.name = "small", .attend = within, .takes_groups = false, .most_rows = kMost}), 1e-5);
}

TEST_P(FusedAttentionTest, KernelWithWindowsIsCalledOnceWithTheKeysThatAreSeen) {
  EXPECT_LT(error_of({.name = "last", .attend_last = attend_last_exactly}), 1e-6);
}

// Windows shorter than the queries, longer than all, that begin at position 0, and of one key.
INSTANTIATE_TEST_SUITE_P(Shapes, FusedAttentionTest,
                         ::testing::Values(Case{1, 1, 1, 1, 0}, Case{4, 4, 100, 100, 0}, Case{8, 2, 64, 257, 0},
                                           Case{3, 1, 1, 300, 0}, Case{4, 2, 100, 300, 30}, Case{4, 1, 100, 300, 150},
                                           Case{2, 2, 60, 200, 140}, Case{2, 2, 60, 200, 170}, Case{6, 3, 200, 200, 64},
                                           Case{2, 1, 50, 120, 1}, Case{2, 2, 40, 90, 1000}));

}  // namespace
}  // namespace longrope

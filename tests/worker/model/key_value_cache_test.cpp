#include "worker/model/key_value_cache.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <set>
#include <thread>

namespace longrope {
namespace {

struct Case {
  std::int64_t query_heads;
  std::int64_t key_value_heads;
  std::int64_t tokens;
  std::int64_t head_dim;
  std::int64_t window;
};
std::ostream& operator<<(std::ostream& out, const Case& test) {
  return out << test.query_heads << "/" << test.key_value_heads << " heads of " << test.head_dim << ", " << test.tokens
             << " tokens, window " << test.window;
}

class KeyValueCacheTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Case shape = GetParam();
    at::manual_seed(2);
    // Side by side, as the projection writes them.
    const at::Tensor all = at::randn({shape.tokens, shape.query_heads + 2 * shape.key_value_heads, shape.head_dim});
    queries_ = all.narrow(1, 0, shape.query_heads);
    keys_ = all.narrow(1, shape.query_heads, shape.key_value_heads);
    values_ = all.narrow(1, shape.query_heads + shape.key_value_heads, shape.key_value_heads);
  }

  [[nodiscard]] at::Tensor attend(const Placement& placement, std::int64_t tile) const {
    const Case shape = GetParam();
    KeyValueCache cache(shape.tokens, shape.key_value_heads, shape.head_dim, placement);
    const at::Tensor out = at::empty({shape.tokens, shape.query_heads, shape.head_dim}, placement.arithmetic);
    for (std::int64_t begin = 0; begin < shape.tokens; begin += tile) {
      const std::int64_t count = std::min(tile, shape.tokens - begin);
      const auto rows = [&](const at::Tensor& tensor) {
        return tensor.narrow(0, begin, count).to(placement.arithmetic);
      };
      std::atomic<std::int64_t> pieces = 0;
      cache.store(begin, rows(keys_), rows(values_));
      cache.attend(begin, rows(queries_), shape.window, out.narrow(0, begin, count), [&] { ++pieces; });
      EXPECT_EQ(pieces, KeyValueCache::pieces(count, shape.key_value_heads, placement));
    }
    return out;
  }

  /// softmax(q·kᵀ/√D)·v by a full matrix in double precision, one head at a time.
  [[nodiscard]] at::Tensor expected() const {
    const Case shape = GetParam();
    at::Tensor seen = at::ones({shape.tokens, shape.tokens}, at::TensorOptions().dtype(at::kBool)).tril();
    if (shape.window > 0) seen = seen.triu(1 - shape.window);
    at::Tensor result = at::empty({shape.tokens, shape.query_heads, shape.head_dim}, at::kDouble);
    for (std::int64_t head = 0; head < shape.query_heads; ++head) {
      const std::int64_t shared = head / (shape.query_heads / shape.key_value_heads);
      const at::Tensor scores =
          at::mm(queries_.select(1, head).to(at::kDouble), keys_.select(1, shared).to(at::kDouble).t()) /
          std::sqrt(static_cast<double>(shape.head_dim));
      const at::Tensor weights = at::softmax(scores.masked_fill(seen.logical_not(), -INFINITY), 1);
      result.select(1, head).copy_(at::mm(weights, values_.select(1, shared).to(at::kDouble)));
    }
    return result;
  }

  at::Tensor queries_;  // [T, H, D]
  at::Tensor keys_;     // [T, K, D]
  at::Tensor values_;
};

TEST_P(KeyValueCacheTest, AttentionAgreesWithFullMatrixInDoublePrecision) {
  EXPECT_LT((attend({}, 300).to(at::kDouble) - expected()).abs().max().item<double>(), 1e-5);
}

TEST_P(KeyValueCacheTest, TorchKernelsAgreeWithinBfloat16) {
  // What runs on CUDA: tiles join what came before by their sums of exponentials.
  const Placement placement{.weights = at::kBFloat16, .arithmetic = at::kBFloat16, .products = at::kBFloat16};
  const at::Tensor exact = expected();
  const at::Tensor difference = attend(placement, 300).to(at::kDouble) - exact;
  EXPECT_LT((difference.square().mean().sqrt() / exact.square().mean().sqrt()).item<double>(), 0.02);
}

TEST_P(KeyValueCacheTest, AttentionIsBitEqualForAnyTileAndNumberOfThreads) {
  if (cpu_kernels(OperandType::kFloat32) == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  }
  for (const at::ScalarType products : {at::kFloat, at::kBFloat16}) {
    const Placement placement{.products = products};
    if (kernels_for(placement) == nullptr) continue;  // kernels_test says that this processor has none for bfloat16
    const at::Tensor whole = attend(placement, GetParam().tokens);
    for (const int threads : {1, 2, 3}) {
      at::set_num_threads(threads);
      for (const std::int64_t tile : {64, 192, 301}) EXPECT_TRUE(at::equal(attend(placement, tile), whole)) << tile;
    }
  }
}

TEST(KeyValueCacheThreadsTest, ThreadsShareTheWork) {
  if (cpu_kernels(OperandType::kFloat32) == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  }
  at::set_num_threads(2);
  KeyValueCache cache(800, 1, 16, {});
  const at::Tensor rows = at::randn({800, 1, 16});
  cache.store(0, rows, rows);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  cache.attend(0, rows, 0, at::empty_like(rows), [&] {
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(threads.size(), 2U);
}

INSTANTIATE_TEST_SUITE_P(Shapes, KeyValueCacheTest,
                         ::testing::Values(Case{1, 1, 1, 64, 0}, Case{4, 4, 7, 64, 0}, Case{4, 2, 257, 64, 0},
                                           Case{8, 2, 513, 96, 0}, Case{6, 3, 1030, 16, 0}, Case{3, 1, 800, 128, 0},
                                           Case{4, 2, 700, 80, 100}, Case{2, 2, 650, 64, 1}, Case{2, 1, 40, 6, 64}));

}  // namespace
}  // namespace longrope

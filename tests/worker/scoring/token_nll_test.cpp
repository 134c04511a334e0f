#include "worker/scoring/token_nll.h"

#include "tests/worker/kernels/cuda/bodies_on_host.h"
#include "worker/model/cuda_placement.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

namespace longrope {
namespace {

struct Case {
  std::int64_t rows;
  std::int64_t vocabulary;
  double scale;  // spread of the hidden states: a large one overflows a naive sum of exponentials
};

TokenScores score(
    const at::Tensor& hidden, const at::Tensor& embedding, const at::Tensor& targets, const Placement& placement = {},
    const std::function<void()>& tile_finished = [] {}) {
  const at::Tensor states = hidden.to(placement.arithmetic);
  const Projection head(embedding.to(placement.weights), {}, placement);
  return token_nll([&](std::int64_t first, std::int64_t count) { return states.narrow(0, first, count); },
                   [&](std::int64_t first, std::int64_t count) { return head.outputs(first, count); },
                   embedding.size(0), targets, placement, tile_finished);
}

class TokenNllTest : public ::testing::TestWithParam<Case> {};

TEST_P(TokenNllTest, AgreesWithLogSoftmaxInDoublePrecision) {
  const auto [row_count, vocabulary, scale] = GetParam();
  at::manual_seed(5);
  const at::Tensor hidden = at::randn({row_count, 24}) * scale;
  const at::Tensor embedding = at::randn({vocabulary, 24});
  const at::Tensor targets = at::randint(vocabulary, {row_count}, at::TensorOptions().dtype(at::kLong));
  const at::Tensor logits = at::mm(hidden.to(at::kDouble), embedding.to(at::kDouble).t());
  const at::Tensor expected = -at::log_softmax(logits, 1).gather(1, targets.unsqueeze(1)).squeeze(1);

  std::int64_t tiles = 0;
  const auto [nll, is_argmax, log_sums] = score(hidden, embedding, targets, {}, [&] { ++tiles; });
  EXPECT_EQ(nll.scalar_type(), at::kFloat);
  EXPECT_EQ(tiles, token_nll_tiles(row_count, vocabulary, {}));
  // Random logits: as good as never two so near each other that float32 would order them otherwise.
  EXPECT_TRUE(at::equal(is_argmax, logits.argmax(1).eq(targets)));
  // float32 logits of magnitude 5·scale, 24 terms each.
  EXPECT_LT((nll.to(at::kDouble) - expected).abs().max().item<double>(), 1e-5 * scale);
  EXPECT_LT((log_sums.to(at::kDouble) - at::logsumexp(logits, 1)).abs().max().item<double>(), 1e-5 * scale);

  const Projection head(embedding, {}, {});
  const at::Tensor gradient =
      token_nll_gradient([&](std::int64_t first, std::int64_t count) { return hidden.narrow(0, first, count); },
                         [&](std::int64_t first, std::int64_t count) { return head.outputs(first, count); }, vocabulary,
                         targets, log_sums, {}, [] {});
  const at::Tensor weights =
      at::softmax(logits, 1).scatter_add(1, targets.unsqueeze(1), at::full({row_count, 1}, -1.0, at::kDouble));
  // Sums of 24 to thousands of terms of magnitude 1.
  EXPECT_LT((gradient.to(at::kDouble) - at::mm(weights, embedding.to(at::kDouble))).abs().max().item<double>(),
            1e-4 * scale);
}

// 768 rows and 4,096 words are one tile: below, at and above each boundary.
INSTANTIATE_TEST_SUITE_P(Shapes, TokenNllTest,
                         ::testing::Values(Case{1, 1, 1.0}, Case{1, 258, 1.0}, Case{767, 3, 1.0}, Case{768, 3, 1.0},
                                           Case{769, 3, 1.0}, Case{7, 4095, 1.0}, Case{7, 4096, 1.0},
                                           Case{7, 4097, 1.0}, Case{800, 8193, 1.0}, Case{7, 4097, 100.0}));

TEST(TokenNllRowsTest, ArgmaxIsFoundInEveryTile) {
  // Logits are ids counted from 0, so that the last word is the likeliest, or negated, so that the first is.
  for (const std::int64_t vocabulary : {5, 4096, 4097, 8193}) {
    for (const double sign : {1.0, -1.0}) {
      const at::Tensor embedding = at::arange(vocabulary, at::TensorOptions().dtype(at::kFloat)).unsqueeze(1);
      const at::Tensor hidden = at::full({vocabulary, 1}, sign, at::TensorOptions().dtype(at::kFloat));
      const at::Tensor targets = at::arange(vocabulary, at::TensorOptions().dtype(at::kLong));
      const at::Tensor is_argmax = score(hidden, embedding, targets).is_argmax;
      EXPECT_EQ(is_argmax.sum().item<std::int64_t>(), 1);
      EXPECT_TRUE(is_argmax[sign > 0.0 ? vocabulary - 1 : 0].item<bool>());
    }
  }
}

TEST(TokenNllRowsTest, LowestIdWinsATie) {
  const at::Tensor hidden = at::ones({4, 1});
  at::Tensor embedding = at::zeros({8193, 1});
  // The largest logit three times: twice in the first tile of the vocabulary, once in the last.
  for (const std::int64_t id : {7, 9, 8192}) embedding[id].fill_(2.0);
  const at::Tensor targets = at::tensor({7, 9, 8192, 0}, at::TensorOptions().dtype(at::kLong));
  // The CPU kernels, and Torch's with exactly representable logits.
  for (const Placement& placement :
       {Placement{}, Placement{.weights = at::kBFloat16, .arithmetic = at::kBFloat16, .products = at::kBFloat16}}) {
    const at::Tensor is_argmax = score(hidden, embedding, targets, placement).is_argmax;
    for (std::int64_t row = 0; row < 4; ++row) EXPECT_EQ(is_argmax[row].item<bool>(), row == 0) << row;
  }
}

TEST(TokenNllRowsTest, ARowIsBitEqualWhateverOtherRowsThereAre) {
  if (cpu_kernels(OperandType::kFloat32) == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  }
  const at::Tensor hidden = at::randn({800, 40});
  const at::Tensor embedding = at::randn({5000, 40});
  const at::Tensor targets = at::randint(5000, {800}, at::TensorOptions().dtype(at::kLong));
  const at::Tensor whole = score(hidden, embedding, targets).nll;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    EXPECT_TRUE(at::equal(score(hidden, embedding, targets).nll, whole));
    EXPECT_TRUE(
        at::equal(score(hidden.narrow(0, 795, 5), embedding, targets.narrow(0, 795, 5)).nll, whole.narrow(0, 795, 5)));
  }
}

/// The body of the CUDA kernel, run on the host for one thread after the other, on the logits that Torch multiplies.
TEST(TokenNllBodyTest, TheCudaKernelsBodyScoresAsTorchDoes) {
  at::manual_seed(11);
  constexpr std::int64_t kRows = 40;
  constexpr std::int64_t kWords = 3000;
  const at::Tensor hidden = at::randn({kRows, 24}).to(at::kBFloat16);
  const at::Tensor embedding = at::randn({kWords, 24}).to(at::kBFloat16);
  const at::Tensor logits = at::mm(hidden, embedding.t());
  at::Tensor targets = at::randint(kWords, {kRows}, at::TensorOptions().dtype(at::kLong));
  targets.narrow(0, 0, kRows / 2).copy_(logits.to(at::kFloat).argmax(1).narrow(0, 0, kRows / 2));
  const TokenScores expected =
      score(hidden, embedding, targets,
            Placement{.weights = at::kBFloat16, .arithmetic = at::kBFloat16, .products = at::kBFloat16});

  std::vector<LogitState> rows(kRows, no_logits());
  const LogitTile tile{.logits = logits.const_data_ptr(),
                       .type = element_type(logits),
                       .stride = logits.stride(0),
                       .rows = kRows,
                       .columns = kWords,
                       .targets = targets.const_data_ptr<std::int64_t>(),
                       .states = rows.data()};
  add_logits_on_host<c10::BFloat16>(tile);
  for (std::int64_t row = 0; row < kRows; ++row) {
    const LogitState& state = rows[static_cast<std::size_t>(row)];
    EXPECT_NEAR(negative_log_likelihood(state), expected.nll[row].item<float>(), 1e-5F);
    EXPECT_EQ(state.argmax == targets[row].item<std::int64_t>(), expected.is_argmax[row].item<bool>());
  }
  EXPECT_GE(expected.is_argmax.sum().item<std::int64_t>(), kRows / 4);
}

TEST(TokenNllRowsTest, NonFiniteHiddenStatesGiveNonFiniteNll) {
  for (const double value : {std::nan(""), static_cast<double>(INFINITY)}) {
    const at::Tensor hidden = at::full({1, 4}, value);
    const at::Tensor embedding = at::ones({5, 4});
    const at::Tensor nll = score(hidden, embedding, at::zeros({1}, at::TensorOptions().dtype(at::kLong))).nll;
    EXPECT_FALSE(std::isfinite(nll[0].item<double>()));
  }
}

}  // namespace
}  // namespace longrope

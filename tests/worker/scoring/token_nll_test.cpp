#include "worker/scoring/token_nll.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

namespace longrope {
namespace {

struct Case {
  std::int64_t rows;
  std::int64_t vocabulary;
  double scale;  // of the hidden states: large ones overflow a sum of exponentials without its maximum
};

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
  const auto [nll, is_argmax] =
      token_nll([&](std::int64_t begin, std::int64_t count) { return hidden.narrow(0, begin, count); }, embedding,
                at::kFloat, targets, [&] { ++tiles; });
  EXPECT_EQ(nll.scalar_type(), at::kFloat);
  EXPECT_EQ(tiles, token_nll_tiles(row_count, vocabulary));
  // Random logits: as good as never two so near each other that float32 would order them otherwise.
  EXPECT_TRUE(at::equal(is_argmax, logits.argmax(1).eq(targets)));
  // float32 logits of magnitude 5·scale, 24 terms each.
  EXPECT_LT((nll.to(at::kDouble) - expected).abs().max().item<double>(), 1e-5 * scale);
}

// 512 rows and 8,192 words are one tile: below, at and above each boundary.
INSTANTIATE_TEST_SUITE_P(Shapes, TokenNllTest,
                         ::testing::Values(Case{1, 1, 1.0}, Case{1, 258, 1.0}, Case{511, 3, 1.0}, Case{512, 3, 1.0},
                                           Case{513, 3, 1.0}, Case{7, 8191, 1.0}, Case{7, 8192, 1.0},
                                           Case{7, 8193, 1.0}, Case{600, 16385, 1.0}, Case{7, 8193, 100.0}));

TEST(TokenNllRowsTest, ArgmaxIsFoundInEveryTile) {
  // Logits are ids counted from 0, so that the last word is the likeliest, or negated, so that the first is.
  for (const std::int64_t vocabulary : {5, 8192, 8193, 16385}) {
    for (const double sign : {1.0, -1.0}) {
      const at::Tensor embedding = at::arange(vocabulary, at::TensorOptions().dtype(at::kFloat)).unsqueeze(1);
      const at::Tensor hidden = at::full({3, 1}, sign, at::TensorOptions().dtype(at::kFloat));
      const at::Tensor targets =
          at::tensor({std::int64_t{0}, vocabulary / 2, vocabulary - 1}, at::TensorOptions().dtype(at::kLong));
      const at::Tensor is_argmax =
          token_nll([&](std::int64_t begin, std::int64_t count) { return hidden.narrow(0, begin, count); }, embedding,
                    at::kFloat, targets, [] {})
              .is_argmax;
      EXPECT_EQ(is_argmax.sum().item<std::int64_t>(), 1);
      EXPECT_TRUE(is_argmax[sign > 0.0 ? 2 : 0].item<bool>());
    }
  }
}

TEST(TokenNllRowsTest, LowestIdWinsATie) {
  const at::Tensor hidden = at::ones({4, 1});
  at::Tensor embedding = at::zeros({16385, 1});
  // The largest logit three times: twice in the first tile of the vocabulary, once in the last.
  for (const std::int64_t id : {7, 9, 16384}) embedding[id].fill_(2.0);
  const at::Tensor targets = at::tensor({7, 9, 16384, 0}, at::TensorOptions().dtype(at::kLong));
  const at::Tensor is_argmax =
      token_nll([&](std::int64_t begin, std::int64_t count) { return hidden.narrow(0, begin, count); }, embedding,
                at::kFloat, targets, [] {})
          .is_argmax;
  for (std::int64_t row = 0; row < 4; ++row) EXPECT_EQ(is_argmax[row].item<bool>(), row == 0) << row;
}

TEST(TokenNllRowsTest, NonFiniteHiddenStatesGiveNonFiniteNll) {
  for (const double value : {std::nan(""), static_cast<double>(INFINITY)}) {
    const at::Tensor hidden = at::full({1, 4}, value);
    const at::Tensor embedding = at::ones({5, 4});
    const at::Tensor nll = token_nll([&](std::int64_t, std::int64_t) { return at::Tensor(hidden); }, embedding,
                                     at::kFloat, at::zeros({1}, at::TensorOptions().dtype(at::kLong)), [] {})
                               .nll;
    EXPECT_FALSE(std::isfinite(nll[0].item<double>()));
  }
}

}  // namespace
}  // namespace longrope

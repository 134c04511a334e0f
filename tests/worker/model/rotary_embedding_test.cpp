#include "worker/model/rotary_embedding.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace longrope {
namespace {

/// A table of arbitrary angles, so that a transposed or shifted index shows.
RotaryTable table_of(std::int64_t positions, std::size_t pairs) {
  RotaryTable table{.positions = positions, .pairs = pairs, .cos = {}, .sin = {}};
  for (std::size_t entry = 0; entry < static_cast<std::size_t>(positions) * pairs; ++entry) {
    table.cos.push_back(std::cos(static_cast<float>(entry)));
    table.sin.push_back(std::sin(static_cast<float>(entry)));
  }
  return table;
}

struct Case {
  std::int64_t head_dim;
  std::size_t pairs;
  at::ScalarType dtype;
  double tolerance;
};

class RotaryEmbeddingTest : public ::testing::TestWithParam<Case> {};

TEST_P(RotaryEmbeddingTest, PairsTurnAndChannelsBeyondRotaryDimPassThrough) {
  const auto [head_dim, pairs, dtype, tolerance] = GetParam();
  const std::int64_t tokens = 3;
  const std::int64_t heads = 2;
  const auto half = static_cast<std::int64_t>(pairs);
  at::manual_seed(1);
  // A slice of a wider tensor, as the model passes it: not contiguous.
  const at::Tensor in = at::randn({tokens, heads + 2, head_dim}).to(dtype).narrow(1, 1, heads);
  const RotaryTable table = table_of(tokens, pairs);
  const at::Tensor out = at::empty({heads, tokens, head_dim}, in.options());
  apply_rotary(in, to_device(table, at::kCPU), out);
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t head = 0; head < heads; ++head) {
      const auto before = [&](std::int64_t channel) { return in[token][head][channel].item<double>(); };
      for (std::int64_t channel = 0; channel < head_dim; ++channel) {
        double expected = before(channel);
        if (channel < 2 * half) {
          const auto entry = static_cast<std::size_t>(token * half + channel % half);
          const double cosine = static_cast<double>(table.cos[entry]);
          const double sine = static_cast<double>(table.sin[entry]);
          expected = channel < half ? before(channel) * cosine - before(channel + half) * sine
                                    : before(channel) * cosine + before(channel - half) * sine;
        }
        EXPECT_NEAR(out[head][token][channel].item<double>(), expected, tolerance)
            << "token " << token << " head " << head << " channel " << channel;
      }
    }
  }
}

// float32: a few units in the last place of values below 4. bfloat16: one rounding, 2^-8 relative.
INSTANTIATE_TEST_SUITE_P(Shapes, RotaryEmbeddingTest,
                         ::testing::Values(Case{8, 4, at::kFloat, 1e-6}, Case{8, 3, at::kFloat, 1e-6},
                                           Case{96, 48, at::kFloat, 1e-6}, Case{8, 4, at::kBFloat16, 0.016},
                                           Case{8, 3, at::kBFloat16, 0.016}));

}  // namespace
}  // namespace longrope

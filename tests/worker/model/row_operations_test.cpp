#include "worker/model/row_operations.h"

#include "tests/worker/kernels/cuda/bodies_on_host.h"
#include "worker/model/cuda_rotation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

namespace longrope {
namespace {

/// float32 runs on the CPU kernels, bfloat16 on Torch's.
struct Case {
  at::ScalarType dtype;
  double tolerance;  // absolute, of values below 8: float32 a few units in the last place; bfloat16 two roundings
};

class RowOperationsTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { at::manual_seed(1); }
  [[nodiscard]] at::Tensor random(at::IntArrayRef shape) const { return at::randn(shape).to(GetParam().dtype); }
  static void expect_near(const at::Tensor& actual, const at::Tensor& expected) {
    EXPECT_LT((actual.to(at::kDouble) - expected).abs().max().item<double>(), GetParam().tolerance);
  }
};
INSTANTIATE_TEST_SUITE_P(Dtypes, RowOperationsTest,
                         ::testing::Values(Case{at::kFloat, 2e-6}, Case{at::kBFloat16, 0.04}),
                         [](const auto& test) { return std::string(c10::toString(test.param.dtype)); });

TEST_P(RowOperationsTest, RmsNormAgreesWithDoublePrecision) {
  const at::Tensor in = random({40, 90});
  const at::Tensor weight = random({90});
  const at::Tensor out = at::empty_like(in);
  rms_norm(in, weight, 1e-5, out);
  const at::Tensor exact = in.to(at::kDouble);
  expect_near(out, exact * (exact.square().mean(1, true) + 1e-5).rsqrt() * weight.to(at::kDouble));
}

TEST_P(RowOperationsTest, RmsNormOfSomeHeadsLeavesTheOthers) {
  const at::Tensor heads = random({5, 4, 16});
  const at::Tensor before = heads.clone();
  rms_norm_heads(heads.narrow(1, 1, 2), at::ones({16}, GetParam().dtype), 1e-6);
  EXPECT_TRUE(at::equal(heads.select(1, 0), before.select(1, 0)));
  EXPECT_TRUE(at::equal(heads.select(1, 3), before.select(1, 3)));
  expect_near(heads.narrow(1, 1, 2).to(at::kDouble).square().mean(2), at::ones({5, 2}, at::kDouble));
}

TEST_P(RowOperationsTest, GateIsSiluTimesUp) {
  const at::Tensor gate_up = random({33, 2 * 70});
  const at::Tensor out = at::empty({33, 70}, GetParam().dtype);
  gate(gate_up, out);
  const at::Tensor exact = gate_up.to(at::kDouble);
  expect_near(out, at::silu(exact.narrow(1, 0, 70)) * exact.narrow(1, 70, 70));
}

TEST_P(RowOperationsTest, PairsAreRotatedAndChannelsBeyondRotaryDimStay) {
  constexpr std::int64_t kBegin = 1000;
  const RotaryGeometry geometry{.rotary_dim = 6, .rope_theta = 100.0, .original_length = 32};
  const RescaleFactors factors = exact_factors({1.0, 1.5, 7.0}, /*n_hat=*/1010, {AttentionPolicy::kValue, 1.25});
  // A slice of a wider tensor, as the model passes it; more rows than one task takes.
  const at::Tensor heads = random({50, 4, 8}).narrow(1, 1, 2);
  const at::Tensor before = heads.to(at::kDouble).clone();
  rotate(heads, rotary_rows({geometry, factors, AngleMode::kFp64, "test"}, kBegin, 50, at::kCPU));
  for (std::int64_t token = 0; token < 50; ++token) {
    const double magnitude = kBegin + token < factors.n_hat ? 1.0 : 1.25;
    for (std::int64_t head = 0; head < 2; ++head) {
      for (std::int64_t channel = 0; channel < 8; ++channel) {
        const auto at = [&](std::int64_t index) { return before[token][head][index].item<double>(); };
        double expected = at(channel);
        if (channel < 6) {
          const auto pair = static_cast<std::size_t>(channel % 3);
          const double divisor = kBegin + token < factors.n_hat ? 1.0 : factors.lambda[pair];
          const double angle = static_cast<double>(kBegin + token) *
                               std::pow(geometry.rope_theta, -static_cast<double>(pair) / 3.0) / divisor;
          expected = magnitude * (channel < 3 ? at(channel) * std::cos(angle) - at(channel + 3) * std::sin(angle)
                                              : at(channel) * std::cos(angle) + at(channel - 3) * std::sin(angle));
        }
        EXPECT_NEAR(heads[token][head][channel].item<double>(), expected, GetParam().tolerance);
      }
    }
  }
}

/// The body of the CUDA kernel, run on the host for one thread after the other.
TEST(RotationBodyAgainstTorchTest, Bfloat16HeadsAreRotatedAsTorchRotatesThem) {
  const RotaryGeometry geometry{.rotary_dim = 12, .rope_theta = 1e4, .original_length = 32};
  const RescaleFactors factors =
      exact_factors({1.0, 1.5, 2.0, 3.0, 4.0, 7.0}, /*n_hat=*/20, {AttentionPolicy::kValue, 1.25});
  const RotaryFrequencies frequencies(geometry, factors, AngleMode::kFp64, "test");
  const at::Tensor heads = at::randn({50, 5, 16}).to(at::kBFloat16);
  const at::Tensor rotated_heads = heads.clone().narrow(1, 1, 3);
  rotate(rotated_heads, rotary_rows(frequencies, 0, 50, at::kCPU));

  const at::Tensor own = heads.clone().narrow(1, 1, 3);
  rotate_on_host<c10::BFloat16>(rotation_of<double>(own, rotary_frequency_rows(frequencies, 0, at::kCPU)));
  // Torch may fuse the last multiplication and addition: then a value between two bfloat16 numbers falls to the other.
  EXPECT_TRUE(at::allclose(own.to(at::kFloat), rotated_heads.to(at::kFloat), /*rtol=*/0.008, /*atol=*/1e-5));
}

/// With the body of the CUDA kernel, which computes the angles from the frequencies.
TEST(RotationBodyAgainstTorchTest, TransposedFrequenciesRotateBack) {
  const RotaryGeometry geometry{.rotary_dim = 4, .rope_theta = 1e4, .original_length = 32};
  const RescaleFactors factors = exact_factors({1.5, 2.0}, /*n_hat=*/20, {AttentionPolicy::kValue, 1.25});
  const RotaryFrequencies frequencies(geometry, factors, AngleMode::kFp64, "test");
  const RotaryRows rows = rotary_frequency_rows(frequencies, 0, at::kCPU);
  const at::Tensor heads = at::randn({50, 2, 6});
  const at::Tensor rotated_heads = heads.clone();
  for (const RotaryRows& way : {rows, transposed(rows)}) rotate_on_host<float>(rotation_of<double>(rotated_heads, way));
  at::Tensor expected = heads.to(at::kDouble);
  expected.narrow(0, 20, 30).narrow(2, 0, 4).mul_(1.25 * 1.25);  // the transposed rotation multiplies by m as well
  EXPECT_TRUE(at::allclose(rotated_heads.to(at::kDouble), expected, /*rtol=*/1e-5, /*atol=*/1e-6));
}

TEST(RowOperationsBitsTest, RowsAreBitEqualForAnyNumberAtOnceAndOfThreads) {
  if (cpu_kernels(OperandType::kFloat32) == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  }
  const at::Tensor in = at::randn({100, 2 * 75});
  const at::Tensor weight = at::randn({2 * 75});
  const auto in_tiles = [&](std::int64_t tile) {
    const at::Tensor normed = at::empty_like(in);
    const at::Tensor gated = at::empty({100, 75});
    for (std::int64_t begin = 0; begin < 100; begin += tile) {
      const std::int64_t count = std::min<std::int64_t>(tile, 100 - begin);
      rms_norm(in.narrow(0, begin, count), weight, 1e-5, normed.narrow(0, begin, count));
      gate(in.narrow(0, begin, count), gated.narrow(0, begin, count));
    }
    return at::cat({normed, gated}, 1);
  };
  const at::Tensor whole = in_tiles(100);
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    for (const std::int64_t tile : {1, 17, 64}) EXPECT_TRUE(at::equal(in_tiles(tile), whole)) << tile;
  }
}

}  // namespace
}  // namespace longrope

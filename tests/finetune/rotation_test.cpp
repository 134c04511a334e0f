#include "finetune/rotation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

namespace longrope {
namespace {

constexpr std::int64_t kTokens = 40;
constexpr std::int64_t kPairs = 3;

struct Case {
  at::ScalarType dtype;
  double tolerance;  // absolute, of values below 8: float32 a few units in the last place; bfloat16 one rounding
};

class RotationTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    at::manual_seed(3);
    // Heads between others, as the model passes them; the last two channels of eight are not turned.
    heads_ = at::randn({2, kTokens, 5, 8}).to(GetParam().dtype).narrow(2, 1, 3);
    const RotaryGeometry geometry{.rotary_dim = 2 * kPairs, .rope_theta = 100.0, .original_length = 32};
    const RescaleFactors factors =
        exact_factors({1.0, 1.5, 7.0}, /*n_hat=*/10, {.policy = AttentionPolicy::kValue, .value = 1.25});
    rotary_ = rotary_rows({geometry, factors, AngleMode::kFp64, "test"}, 0, kTokens, at::kCPU);
  }
  static void expect_near(const at::Tensor& actual, const at::Tensor& expected) {
    EXPECT_LT((actual.to(at::kDouble) - expected).abs().max().item<double>(), GetParam().tolerance);
  }

  at::Tensor heads_;
  RotaryRows rotary_;
};
INSTANTIATE_TEST_SUITE_P(Dtypes, RotationTest, ::testing::Values(Case{at::kFloat, 2e-6}, Case{at::kBFloat16, 0.02}),
                         [](const auto& test) { return std::string(c10::toString(test.param.dtype)); });

TEST_P(RotationTest, EverySequenceTurnsAsInScoringAndTheHeadsStay) {
  const at::Tensor before = heads_.clone();
  const at::Tensor turned = rotated(heads_, rotary_);
  EXPECT_TRUE(at::equal(heads_, before));
  EXPECT_EQ(turned.scalar_type(), GetParam().dtype);
  for (std::int64_t sequence = 0; sequence < 2; ++sequence) {
    const at::Tensor expected = heads_[sequence].to(at::kFloat).contiguous();
    rotate(expected, rotary_);
    EXPECT_TRUE(at::equal(turned[sequence], expected.to(GetParam().dtype)));
  }
}

/// Torch's own gradient of the formula, in float64.
TEST_P(RotationTest, GradientIsThatOfTheFormula) {
  const at::Tensor weight = at::randn({2, kTokens, 3, 8}).to(GetParam().dtype);
  const at::Tensor own = heads_.detach().requires_grad_();
  rotated(own, rotary_).backward(weight);

  const at::Tensor exact = heads_.to(at::kDouble).requires_grad_();
  const at::Tensor first = exact.narrow(3, 0, kPairs);
  const at::Tensor second = exact.narrow(3, kPairs, kPairs);
  const at::Tensor cos = rotary_.cos.to(at::kDouble).unsqueeze(1);
  const at::Tensor sin = rotary_.sin.to(at::kDouble).unsqueeze(1);
  at::cat({first * cos - second * sin, second * cos + first * sin, exact.narrow(3, 2 * kPairs, 2)}, 3)
      .backward(weight.to(at::kDouble));
  expect_near(own.grad(), exact.grad());
}

}  // namespace
}  // namespace longrope

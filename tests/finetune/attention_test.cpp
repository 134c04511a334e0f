#include "finetune/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <vector>

namespace longrope {
namespace {

/// The result and the gradients of Σ result∘weights, for B = 2 sequences of T tokens.
struct Attended {
  Attended(std::int64_t tokens, std::int64_t query_heads, std::int64_t key_value_heads, std::int64_t head_dim,
           at::ScalarType dtype, const CpuKernels* kernels) {
    at::manual_seed(4);
    std::vector<at::Tensor> in;
    for (const std::int64_t heads : {query_heads, key_value_heads, key_value_heads}) {
      in.push_back(at::randn({2, tokens, heads, head_dim}).to(dtype).requires_grad_());
    }
    const at::Tensor weights = at::randn({2, tokens, query_heads, head_dim}).to(dtype);
    const at::Tensor result = attended(in[0], in[1], in[2], kernels);
    (result * weights).sum().backward();
    found = {result.detach(), in[0].grad(), in[1].grad(), in[2].grad()};
  }
  std::vector<at::Tensor> found;
};

void expect_near(const Attended& found, const Attended& expected, double tolerance) {
  for (std::size_t index = 0; index < expected.found.size(); ++index) {
    const at::Tensor exact = expected.found[index].to(at::kDouble);
    EXPECT_EQ(found.found[index].sizes(), exact.sizes());
    const at::Tensor error = (found.found[index].to(at::kDouble) - exact).norm() / exact.norm();
    EXPECT_LT(error.item<double>(), tolerance) << "tensor " << index;
  }
}

TEST(TrainingAttentionTest, GradientsOfTheKernelsAgreeWithTorchInDoublePrecision) {
  const CpuKernels* const kernels = cpu_kernels(OperandType::kFloat32);
  if (kernels == nullptr) GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  for (const std::int64_t head_dim : {64, 80, 96, 128, 256}) {
    const auto attend = [&](at::ScalarType dtype, const CpuKernels* by) {
      return Attended(130, 6, 2, head_dim, dtype, by);
    };
    expect_near(attend(at::kFloat, kernels), attend(at::kDouble, nullptr), 1e-5);
  }
}

TEST(TrainingAttentionTest, GradientsInBfloat16StayWithinItsRounding) {
  const CpuKernels* const kernels = cpu_kernels(OperandType::kBfloat16Pair);
  if (kernels == nullptr) GTEST_SKIP() << "NOT RUN: this processor has no AVX512-BF16";
  const Attended found(130, 6, 2, 64, at::kBFloat16, kernels);
  for (const at::Tensor& tensor : found.found) EXPECT_EQ(tensor.scalar_type(), at::kBFloat16);
  // Torch's own bfloat16 kernels: both round the same numbers, at other places.
  expect_near(found, Attended(130, 6, 2, 64, at::kBFloat16, nullptr), 0.02);
}

TEST(TrainingAttentionTest, BitsDoNotDependOnTheNumberOfThreads) {
  const CpuKernels* const kernels = cpu_kernels(OperandType::kFloat32);
  if (kernels == nullptr) GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  std::vector<Attended> found;
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    found.emplace_back(70, 4, 2, 16, at::kFloat, kernels);
  }
  for (std::size_t index = 0; index < found[0].found.size(); ++index) {
    EXPECT_TRUE(at::equal(found[0].found[index], found[1].found[index])) << index;
  }
}

}  // namespace
}  // namespace longrope

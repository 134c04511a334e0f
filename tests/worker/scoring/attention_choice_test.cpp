#include "worker/scoring/attention_choice.h"

#include "common/error.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace longrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr AttentionHeads kHeads = {.query_heads = 4, .key_value_heads = 2, .head_dim = 16};

/// Wrong as pytorch #162588 is: right until there are more than 65,536 keys, and then of the first ones only.
PartialAttention attend_some_keys(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                                  KeyMask mask) {
  const std::int64_t seen = keys.size(0) > 60'000 ? 100 : keys.size(0);
  return kCpuAttention.attend(queries, keys.narrow(0, 0, seen), values.narrow(0, 0, seen), mask);
}

PartialAttention fail(const at::Tensor& /*queries*/, const at::Tensor& /*keys*/, const at::Tensor& /*values*/,
                      KeyMask /*mask*/) {
  TORCH_CHECK(false, "no such kernel on this device");
}

constexpr FusedAttention kWrong = {.name = "wrong attention", .attend = attend_some_keys, .takes_groups = false};
constexpr FusedAttention kAbsent = {.name = "absent attention", .attend = fail, .takes_groups = false};

TEST(AttentionChoiceTest, KernelThatIsWrongInSilenceIsNotUsedAndNamed) {
  const std::array kernels = {&kWrong, &kAbsent, &kCpuAttention};
  const AttentionChoice choice = first_right_attention(kernels, kHeads, at::kFloat);
  EXPECT_EQ(choice.kernel, &kCpuAttention);
  EXPECT_THAT(choice.description, StartsWith(std::string(kCpuAttention.name) + "; not wrong attention: wrong by "));
  EXPECT_THAT(choice.description, HasSubstr("at 65537 keys, window 0"));
  EXPECT_THAT(choice.description, HasSubstr("not absent attention: it failed at 2049 keys"));
}

TEST(AttentionChoiceTest, FirstKernelThatIsRightIsTaken) {
  const std::array kernels = {&kCpuAttention, &kWrong};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    EXPECT_EQ(first_right_attention(kernels, kHeads, dtype).description, kCpuAttention.name);
  }
}

TEST(AttentionChoiceTest, NothingIsComputedWithoutARightKernel) {
  const std::array kernels = {&kWrong, &kAbsent};
  try {
    (void)first_right_attention(kernels, kHeads, at::kFloat);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no attention kernel of Torch is right on cpu; not wrong attention"));
  }
}

TEST(DeviceAttentionTest, TableChoosesByDeviceAndHeads) {
  const AttentionHeads llama = {.query_heads = 32, .key_value_heads = 8, .head_dim = 128};
  AttentionHeads few = llama;
  few.key_value_heads = 4;
  AttentionHeads other = llama;
  other.head_dim = 80;
  EXPECT_THAT(device_attention(80, at::kBFloat16, llama), ElementsAre(&kFlashAttention));
  EXPECT_THAT(device_attention(90, at::kBFloat16, few), ElementsAre(&kCudnnAttention, &kFlashAttention));
  EXPECT_THAT(device_attention(90, at::kBFloat16, other), ElementsAre(&kFlashAttention));
  EXPECT_THAT(device_attention(100, at::kBFloat16, llama), ElementsAre(&kCudnnAttention, &kFlashAttention));
  EXPECT_THAT(device_attention(100, at::kBFloat16, few), ElementsAre(&kFlashAttention));
  EXPECT_THAT(device_attention(90, at::kFloat, llama), ElementsAre(&kMemoryEfficientAttention));
}

TEST(DeviceAttentionTest, HeadsThatNoKernelTakesAreRefused) {
  for (const std::int64_t head_dim : {6, 100, 264}) {
    EXPECT_THROW((void)device_attention(90, at::kBFloat16, {4, 4, head_dim}), InputError) << head_dim;
  }
}

}  // namespace
}  // namespace longrope

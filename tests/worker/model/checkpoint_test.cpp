#include "worker/model/checkpoint.h"

#include "common/error.h"
#include "common/files/safetensors_file.h"
#include "tests/worker/reference_transformer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <string>
#include <vector>

namespace longrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CheckpointTest : public ::testing::Test {
 protected:
  void write(const std::string& file, const std::map<std::string, TensorToWrite>& tensors) const {
    write_safetensors(directory_ / file, tensors, {});
  }
  static TensorToWrite floats(const std::vector<float>& values, const std::vector<std::int64_t>& shape) {
    return {.dtype = "F32", .shape = shape, .bytes = std::as_bytes(std::span(values))};
  }
  static std::string refusal(const std::function<void()>& action) {
    try {
      action();
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  }

  std::filesystem::path directory_ = fresh_directory();
  std::vector<float> values_ = {1.0F, -2.0F, 1.00390625F, 3.0F};  // the third lies halfway between two bfloat16
};

TEST_F(CheckpointTest, Float32IsRoundedToNearestEvenBfloat16) {
  write("model.safetensors", {{"w", floats(values_, {2, 2})}});
  Checkpoint checkpoint(directory_);
  const at::Tensor loaded = checkpoint.load("w", {2, 2}, at::kBFloat16, at::kCPU);
  EXPECT_EQ(loaded.scalar_type(), at::kBFloat16);
  EXPECT_EQ(loaded[0][1].item<float>(), -2.0F);
  EXPECT_EQ(loaded[1][0].item<float>(), 1.0F);
  EXPECT_EQ(checkpoint.load("w", {2, 2}, at::kFloat, at::kCPU)[1][0].item<float>(), 1.00390625F);
}

TEST_F(CheckpointTest, HalfTypesAreReadBitByBit) {
  const std::vector<std::uint16_t> bf16 = {0x3F80, 0xC040};  // 1, -3
  const std::vector<std::uint16_t> f16 = {0x3C00, 0xC200};
  write("model.safetensors", {{"b", {.dtype = "BF16", .shape = {2}, .bytes = std::as_bytes(std::span(bf16))}},
                              {"f", {.dtype = "F16", .shape = {2}, .bytes = std::as_bytes(std::span(f16))}}});
  Checkpoint checkpoint(directory_);
  for (const char* const name : {"b", "f"}) {
    const at::Tensor loaded = checkpoint.load(name, {2}, at::kFloat, at::kCPU);
    EXPECT_EQ(loaded[0].item<float>(), 1.0F) << name;
    EXPECT_EQ(loaded[1].item<float>(), -3.0F) << name;
  }
}

TEST_F(CheckpointTest, TensorsOutliveTheCheckpointAndItsFile) {
  write("model.safetensors", {{"w", floats(values_, {4})}});
  at::Tensor loaded;
  {
    Checkpoint checkpoint(directory_);
    loaded = checkpoint.load("w", {4}, at::kFloat, at::kCPU);
  }
  std::filesystem::remove(directory_ / "model.safetensors");
  EXPECT_EQ(loaded[3].item<float>(), 3.0F);
}

TEST_F(CheckpointTest, ShapeMismatchNamesTensorShapesAndFile) {
  write("model.safetensors", {{"w", floats(values_, {2, 2})}});
  Checkpoint checkpoint(directory_);
  EXPECT_THAT(
      refusal([&] { (void)checkpoint.load("w", {4, 1}, at::kFloat, at::kCPU); }),
      AllOf(HasSubstr("shape mismatch: w is [2, 2], config.json gives [4, 1]"), HasSubstr("model.safetensors")));
}

TEST_F(CheckpointTest, MissingTensorIsNamed) {
  write("model.safetensors", {{"w", floats(values_, {4})}});
  Checkpoint checkpoint(directory_);
  EXPECT_THAT(refusal([&] { (void)checkpoint.load("v", {4}, at::kFloat, at::kCPU); }), HasSubstr("missing tensor: v"));
}

TEST_F(CheckpointTest, IntegerWeightsAreRefused) {
  const std::vector<std::int32_t> integers = {1, 2};
  write("model.safetensors", {{"w", {.dtype = "I32", .shape = {2}, .bytes = std::as_bytes(std::span(integers))}}});
  Checkpoint checkpoint(directory_);
  EXPECT_THAT(refusal([&] { (void)checkpoint.load("w", {2}, at::kFloat, at::kCPU); }), HasSubstr("w is I32"));
}

TEST_F(CheckpointTest, TensorInTwoShardsIsRefused) {
  write("a.safetensors", {{"w", floats(values_, {4})}});
  write("b.safetensors", {{"w", floats(values_, {4})}});
  std::ofstream(directory_ / "model.safetensors.index.json")
      << R"({"weight_map":{"w":"a.safetensors","v":"b.safetensors"}})";
  EXPECT_THAT(refusal([&] { const Checkpoint checkpoint(directory_); }),
              AllOf(HasSubstr("a.safetensors"), HasSubstr("b.safetensors")));
}

TEST_F(CheckpointTest, LeftOverTensorIsRefusedUnlessIgnored) {
  write("model.safetensors", {{"v.bias", floats(values_, {4})}, {"w", floats(values_, {4})}});
  Checkpoint checkpoint(directory_);
  (void)checkpoint.load("w", {4}, at::kFloat, at::kCPU);
  EXPECT_THAT(refusal([&] { checkpoint.require_all_loaded({}); }), HasSubstr("v.bias"));
  EXPECT_NO_THROW(checkpoint.require_all_loaded({".bias"}));
}

}  // namespace
}  // namespace longrope

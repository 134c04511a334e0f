#include "common/model/checkpoint_tensors.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace longrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CheckpointTensorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    std::ofstream(directory_ / "model.safetensors.index.json")
        << R"({"weight_map":{"v":"a.safetensors","w":"b.safetensors"}})";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  void write(const std::string& file, const std::string& tensor) const {
    write_safetensors(directory_ / file, {{tensor, {"F32", {2}, std::as_bytes(std::span(values_))}}}, {});
  }

  std::vector<float> values_ = {1.0F, 2.0F};
  std::filesystem::path directory_ = std::filesystem::path(::testing::TempDir()) / "checkpoint_tensors_test" /
                                     ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(CheckpointTensorsTest, TensorsAreFoundInTheirShards) {
  write("a.safetensors", "v");
  write("b.safetensors", "w");
  const CheckpointTensors tensors(directory_);
  EXPECT_EQ(tensors.file_of("w"), directory_ / "b.safetensors");
  EXPECT_EQ(tensors.require("v", {2}).dtype, "F32");
  EXPECT_EQ(tensors.find("x"), nullptr);
  EXPECT_NO_THROW(tensors.require_no_other({"v"}, {"w"}));
  EXPECT_THROW(tensors.require_no_other({"v"}, {}), InputError);
}

TEST_F(CheckpointTensorsTest, TensorInTwoShardsIsRefusedWithBoth) {
  write("a.safetensors", "w");
  write("b.safetensors", "w");
  EXPECT_THAT([&] { const CheckpointTensors tensors(directory_); },
              ::testing::ThrowsMessage<InputError>(AllOf(HasSubstr("a tensor must be in one shard: w is in"),
                                                         HasSubstr("a.safetensors"), HasSubstr("b.safetensors"))));
}

}  // namespace
}  // namespace longrope

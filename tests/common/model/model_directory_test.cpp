#include "common/model/model_directory.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace longrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string refusal(const std::filesystem::path& directory) {
  try {
    require_model_directory(directory);
  } catch (const InputError& error) {
    return error.what();
  }
  return "(not refused)";
}

TEST(ModelDirectoryTest, NameOnHuggingFaceIsRefusedWithTheCommandThatDownloadsIt) {
  EXPECT_THAT(refusal("meta-llama/Llama-3.1-8B"),
              AllOf(HasSubstr("a model must be a directory: there is no meta-llama/Llama-3.1-8B"),
                    HasSubstr("hf download meta-llama/Llama-3.1-8B --local-dir DIR")));
  const std::filesystem::path folder = ::testing::TempDir();
  EXPECT_THAT(refusal(folder / "meta-llama" / "Llama-3.1-8B"), HasSubstr("hf download meta-llama/Llama-3.1-8B"))
      << "a configuration's paths are relative to its folder";
}

TEST(ModelDirectoryTest, PathThatIsNoNameGetsNoDownload) {
  for (const char* const path : {"absent", "/absent/model", "../absent", "./absent", "a/b/c", "strange name/model"}) {
    EXPECT_THAT(refusal(path), AllOf(HasSubstr("there is no "), Not(HasSubstr("hf download")))) << path;
  }
}

TEST(ModelDirectoryTest, FileAndEmptyDirectoryAreRefused) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "model_directory_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  EXPECT_THAT(refusal(folder), HasSubstr("must hold config.json"));
  std::ofstream(folder / "model.gguf") << "x";
  EXPECT_THAT(refusal(folder), HasSubstr("there is only model.gguf"));
  EXPECT_THAT(refusal(folder / "model.gguf"), AllOf(HasSubstr("a model must be a directory: "), HasSubstr(" is none")));
  std::ofstream(folder / "config.json") << "{}";
  EXPECT_EQ(refusal(folder), "(not refused)");
}

}  // namespace
}  // namespace longrope

#include "common/files/read_file.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longrope {
namespace {

TEST(ReadFileTest, BytesAreReadUnchangedAcrossChunks) {
  const TemporaryDirectory directory;
  std::string content(200'000, '\0');
  for (std::size_t index = 0; index < content.size(); ++index) content[index] = static_cast<char>(index * 7 % 251);
  EXPECT_EQ(read_file(directory.write("a.bin", content), content.size()), content);
  EXPECT_EQ(read_file(directory.write("empty", ""), 10), "");
}

TEST(ReadFileTest, FileAboveTheLimitIsRefused) {
  const TemporaryDirectory directory;
  const auto path = directory.write("a.txt", "12345");
  EXPECT_EQ(read_file(path, 5), "12345");
  EXPECT_THAT(refusal([&] { (void)read_file(path, 4); }), testing::HasSubstr("must not be larger than 4 bytes"));
}

TEST(ReadFileTest, EndlessDeviceDirectoryAndMissingFileAreRefused) {
  const TemporaryDirectory directory;
  for (const std::filesystem::path& path : {std::filesystem::path("/dev/zero"), directory.path(), directory / "none"}) {
    EXPECT_THAT(refusal([&] { (void)read_file(path, 1'000'000); }), testing::HasSubstr(path.string()));
  }
}

}  // namespace
}  // namespace longrope

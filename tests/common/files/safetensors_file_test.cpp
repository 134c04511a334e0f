#include "common/files/safetensors_file.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SafetensorsFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
    directory_ = std::filesystem::path(::testing::TempDir()) / "safetensors_file_test" / test->name();
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    path_ = directory_ / "file.safetensors";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  /// The file format written by hand: length, header, data.
  void write(std::uint64_t header_bytes, std::string_view header, std::string_view data) const {
    std::ofstream out(path_, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
    out << header << data;
  }
  void write(std::string_view header, std::string_view data = "") const { write(header.size(), header, data); }

  void expect_refused(std::string_view rule) const {
    try {
      const SafetensorsFile file(path_);
      ADD_FAILURE() << "accepted; expected: " << rule;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(std::string(rule)));
      EXPECT_THAT(error.what(), HasSubstr(path_.native()));
    }
  }

  std::filesystem::path directory_;
  std::filesystem::path path_;
};

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(SafetensorsFileTest, TensorsAndMetadataAreReadFromAHandWrittenFile) {
  write(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[2,1],"data_offsets":[4,6]},)"
      R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"empty":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},)"
      R"("scalar":{"dtype":"I8","shape":[],"data_offsets":[6,7]}}   )",
      "wxyz12!");
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.tensors().size(), 4U);
  EXPECT_EQ(text(file.tensors().at("a").bytes), "wxyz");
  EXPECT_EQ(file.tensors().at("a").dtype, "BF16");
  EXPECT_EQ(text(file.tensors().at("b").bytes), "12");
  EXPECT_THAT(file.tensors().at("b").shape, ElementsAre(2, 1));
  EXPECT_TRUE(file.tensors().at("empty").bytes.empty());
  EXPECT_TRUE(file.tensors().at("scalar").shape.empty());
  EXPECT_EQ(file.metadata().at("format"), "pt");
}

TEST_F(SafetensorsFileTest, MovedFileKeepsItsViews) {
  write(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", "abc");
  SafetensorsFile first(path_);
  const SafetensorsFile second(std::move(first));
  EXPECT_EQ(text(second.tensors().at("a").bytes), "abc");
}

TEST_F(SafetensorsFileTest, WrittenFileReadsBackAndIsAligned) {
  const std::vector<std::uint8_t> small = {1, 2, 3};
  const std::vector<double> wide = {0.5, -2.0};
  write_safetensors(path_,
                    {{"a", {.dtype = "U8", .shape = {3}, .bytes = std::as_bytes(std::span(small))}},
                     {"z", {.dtype = "F64", .shape = {1, 2}, .bytes = std::as_bytes(std::span(wide))}}},
                    {{"source", "test"}});
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.metadata().at("source"), "test");
  EXPECT_EQ(text(file.tensors().at("a").bytes), std::string("\1\2\3"));
  const TensorView& view = file.tensors().at("z");
  EXPECT_THAT(view.shape, ElementsAre(1, 2));
  EXPECT_EQ(std::memcmp(view.bytes.data(), wide.data(), view.bytes.size()), 0);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view.bytes.data()) % alignof(double), 0U);
}

TEST_F(SafetensorsFileTest, WritingBytesThatDisagreeWithTheShapeIsRefused) {
  const std::vector<std::uint8_t> bytes = {1, 2, 3};
  EXPECT_THROW(
      write_safetensors(path_, {{"a", {.dtype = "U8", .shape = {4}, .bytes = std::as_bytes(std::span(bytes))}}}, {}),
      Error);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(SafetensorsFileTest, GitLfsPointerIsRefusedByItsName) {
  std::ofstream(path_) << "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 13476838\n";
  expect_refused("it is a Git LFS pointer, not yet the file; fetch it with git lfs pull");
}

TEST_F(SafetensorsFileTest, MissingFileIsRefused) { expect_refused("file must be readable"); }

TEST_F(SafetensorsFileTest, DirectoryIsRefused) {
  std::filesystem::create_directory(path_);
  expect_refused("regular file");
}

TEST_F(SafetensorsFileTest, NamedPipeIsRefusedWithoutBlocking) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  expect_refused("regular file");
}

TEST_F(SafetensorsFileTest, FileShorterThanItsLengthFieldIsRefused) {
  std::ofstream(path_) << "1234567";
  expect_refused("file must hold a header: 7 bytes");
}

TEST_F(SafetensorsFileTest, HeaderLengthsBeyondTheFileAreRefused) {
  for (const std::uint64_t length :
       {std::uint64_t{1} << 63, ~std::uint64_t{0}, std::uint64_t{100'000'001}, std::uint64_t{3}}) {
    write(length, "{}", "");
    expect_refused("end within the file");
  }
}

TEST_F(SafetensorsFileTest, HeadersThatAreNotOneFlatObjectAreRefused) {
  const std::vector<std::string> headers = {
      "[]",
      "{",
      "",
      "{} x",
      "\xff{}",
      R"({"a":[]})",
      R"({"a":{"dtype":"U8","shape":[0]}})",
      R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"more":1}})",
      R"({"a":{"dtype":"U8","shape":[0],"data_offset":[0,0]}})",
      R"({"__metadata__":[]})",
      R"({"__metadata__":{"n":1}})",
      R"({"__metadata__":{"a":"1","a":"2"}})",
      R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
      R"({"a":{"dtype":"U8","shape":[[0]],"data_offsets":[0,0]}})",
      std::string(100'000, '['),
      R"({"a":)" + std::string(100'000, '['),
  };
  for (const std::string& header : headers) {
    SCOPED_TRACE(header.substr(0, 80));
    write(header + std::string(8, ' '));
    expect_refused("");
  }
}

TEST_F(SafetensorsFileTest, EntriesWithWrongValuesAreRefused) {
  struct Case {
    std::string_view entry;
    std::string_view rule;
  };
  const std::vector<Case> cases = {
      {R"("dtype":"F31","shape":[2],"data_offsets":[0,8])", "dtype must be a known one"},
      {R"("dtype":7,"shape":[2],"data_offsets":[0,8])", "t.dtype must be a string: 7"},
      {R"("dtype":"F32","shape":2,"data_offsets":[0,8])", "shape must be an array"},
      {R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])", "t.shape[0] must be an integer"},
      {R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])", "t.shape[0] must be an integer"},
      {R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])", "t.shape[0] must be an integer"},
      {R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])", "overflow"},
      {R"("dtype":"F32","shape":[4611686018427387904,2],"data_offsets":[0,8])", "overflow"},
      {R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", "bytes must agree"},
      {R"("dtype":"BF16","shape":[2],"data_offsets":[0,8])", "bytes must agree"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[0])", "[begin, end]"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])", "t.data_offsets[0] must be an integer"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[8,0])", "within the file"},
      {R"("dtype":"F32","shape":[4],"data_offsets":[0,16])", "within the file"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615])", "t.data_offsets[1] must be an integer"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.entry);
    write("{\"t\":{" + std::string(test.entry) + "}}", "12345678");
    expect_refused(test.rule);
  }
}

TEST_F(SafetensorsFileTest, OverlapsHolesAndUncoveredBytesAreRefused) {
  const auto two = [](const char* first, const char* second) {
    return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + first +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
  };
  write(two("[0,4]", "[3,7]"), "1234567");
  expect_refused("overlap");
  write(two("[0,4]", "[0,4]"), "1234");
  expect_refused("overlap");
  write(two("[0,4]", "[5,9]"), "123456789");
  expect_refused("holes");
  write(two("[1,5]", "[5,9]"), "123456789");
  expect_refused("holes");
  write(two("[4,8]", "[0,4]"), "123456789");
  expect_refused("tensors must cover the data: 8 of 9 bytes");
}

TEST_F(SafetensorsFileTest, EveryTruncationOfAValidFileIsRefused) {
  const std::vector<float> values = {1.0F, 2.0F};
  write_safetensors(path_, {{"a", {.dtype = "F32", .shape = {2}, .bytes = std::as_bytes(std::span(values))}}}, {});
  for (std::uintmax_t size = std::filesystem::file_size(path_); size-- > 0;) {
    std::filesystem::resize_file(path_, size);
    EXPECT_THROW(SafetensorsFile{path_}, InputError) << size << " bytes";
  }
}

}  // namespace
}  // namespace longrope

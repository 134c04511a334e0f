#include "common/files/write_file.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace longrope {
namespace {

std::size_t files_in(const std::filesystem::path& directory) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

TEST(WriteFileTest, WritesAndReplacesWholeContent) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "a.bin", std::string_view("a longer first content"));
  write_file_atomically(directory / "a.bin", std::string_view("with\0zero", 9));
  EXPECT_EQ(content_of(directory / "a.bin"), std::string("with\0zero", 9));
  EXPECT_EQ(files_in(directory.path()), 1U);
}

TEST(WriteFileTest, FailingProducerLeavesOldFileAndNoTemporary) {
  const TemporaryDirectory directory;
  directory.write("a.txt", "old");
  const auto fails_half_way = [](const AppendBytes& append) {
    append(std::as_bytes(std::span(std::string_view("half"))));
    throw std::runtime_error("producer failed");
  };
  EXPECT_THROW(write_file_atomically(directory / "a.txt", fails_half_way), std::runtime_error);
  EXPECT_EQ(content_of(directory / "a.txt"), "old");
  EXPECT_EQ(files_in(directory.path()), 1U);
}

TEST(WriteFileTest, PartsAreWrittenInOrder) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "a.txt", [](const AppendBytes& append) {
    for (const std::string_view part : {"one ", "", "two"}) append(std::as_bytes(std::span(part)));
  });
  EXPECT_EQ(content_of(directory / "a.txt"), "one two");
}

TEST(WriteFileTest, MissingDirectoryIsAnErrorNamingThePath) {
  const TemporaryDirectory directory;
  try {
    write_file_atomically(directory / "missing/a.txt", std::string_view("x"));
    FAIL() << "no Error was thrown";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("missing/a.txt"), testing::HasSubstr("No such file or directory")));
  }
}

TEST(WriteFileTest, DirectoryInTheWayIsAnErrorAndLeavesNoTemporary) {
  const TemporaryDirectory directory;
  std::filesystem::create_directories(directory / "a/inside");
  EXPECT_THROW(write_file_atomically(directory / "a", std::string_view("x")), Error);
  EXPECT_EQ(files_in(directory.path()), 1U);
}

TEST(WriteFileTest, ExistingPermissionsAreKeptAndNewFilesFollowTheMask) {
  const TemporaryDirectory directory;
  const auto permissions = [](const std::filesystem::path& path) {
    return static_cast<unsigned>(std::filesystem::status(path).permissions());
  };
  directory.write("private.txt", "old");
  std::filesystem::permissions(directory / "private.txt", std::filesystem::perms(0640));
  write_file_atomically(directory / "private.txt", std::string_view("new"));
  EXPECT_EQ(permissions(directory / "private.txt"), 0640U);
  directory.write("plain.txt", "as the system makes files");
  write_file_atomically(directory / "new.txt", std::string_view("new"));
  EXPECT_EQ(permissions(directory / "new.txt"), permissions(directory / "plain.txt"));
}

TEST(WriteFileTest, WritablePlaceIsADirectoryThatExists) {
  const TemporaryDirectory directory;
  EXPECT_NO_THROW(require_writable_place(directory / "new.json"));
  directory.write("old.json", "old");
  EXPECT_NO_THROW(require_writable_place(directory / "old.json"));
  EXPECT_NO_THROW(require_writable_place("new.json"));
  EXPECT_THAT(refusal([&] { require_writable_place(directory / "missing/a.json"); }),
              testing::AllOf(testing::HasSubstr("must exist"), testing::EndsWith("missing/a.json)")));
  EXPECT_THAT(refusal([&] { require_writable_place(directory / "old.json/a.json"); }),
              testing::HasSubstr("must exist"));
  EXPECT_EQ(files_in(directory.path()), 1U);
}

TEST(WriteFileTest, WritablePlaceIsNoDirectoryItself) {
  const TemporaryDirectory directory;
  EXPECT_THAT(refusal([&] { require_writable_place(directory.path()); }),
              testing::AllOf(testing::HasSubstr("not a directory"), testing::EndsWith(directory.path().string())));
  EXPECT_THAT(refusal([&] { require_writable_place(directory / "new/"); }), testing::HasSubstr("not a directory"));
}

TEST(WriteFileTest, WritablePlaceIsOneThatTakesNewFiles) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "closed");
  std::filesystem::permissions(directory / "closed", std::filesystem::perms(0555));
  const auto try_as_nobody = [&] {
    constexpr uid_t kNobody = 65534;                // root may write everywhere
    std::filesystem::current_path(directory / "");  // which nobody need not reach from the root
    if (::geteuid() == 0 && ::setuid(kNobody) != 0) ::_exit(2);
    std::fputs(refusal([] { require_writable_place("closed/a.json"); }).c_str(), stderr);
    ::_exit(0);
  };
  EXPECT_EXIT(try_as_nobody(), testing::ExitedWithCode(0), "must be writable: closed: Permission denied");
}

}  // namespace
}  // namespace longrope

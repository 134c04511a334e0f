#include "common/files/write_folder.h"

#include "common/error.h"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <stdexcept>

namespace longrope {
namespace {

namespace fs = std::filesystem;

class WriteFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(parent_);
    fs::create_directories(parent_);
  }
  [[nodiscard]] std::ptrdiff_t entries() const {
    return std::distance(fs::directory_iterator(parent_), fs::directory_iterator());
  }
  fs::path parent_ = fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
  fs::path out_ = parent_ / "out";
};

TEST_F(WriteFolderTest, FolderAppearsWithAllThatWasBuilt) {
  write_folder_atomically(out_, [&](const fs::path& folder) {
    EXPECT_FALSE(fs::exists(out_)) << "not before it is whole";
    std::ofstream(folder / "a") << "1";
    std::ofstream(folder / "b") << "2";
  });
  EXPECT_TRUE(fs::exists(out_ / "a") && fs::exists(out_ / "b"));
  EXPECT_EQ(entries(), 1);
}

TEST_F(WriteFolderTest, NothingIsLeftWhenBuildingFails) {
  EXPECT_THROW(write_folder_atomically(out_,
                                       [](const fs::path& folder) {
                                         std::ofstream(folder / "a") << "1";
                                         throw std::runtime_error("no more");
                                       }),
               std::runtime_error);
  EXPECT_EQ(entries(), 0);
}

TEST_F(WriteFolderTest, WhatAKilledProcessBuiltIsRemovedByTheNextOne) {
  const pid_t killed = fork();
  if (killed == 0) {
    write_folder_atomically(out_, [](const fs::path& folder) {
      std::ofstream(folder / "a") << "1";
      raise(SIGKILL);
    });
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(killed, &status, 0), killed);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_EQ(entries(), 1) << "unfinished";
  write_folder_atomically(out_, [](const fs::path& folder) { std::ofstream(folder / "b") << "2"; });
  EXPECT_TRUE(fs::exists(out_ / "b") && !fs::exists(out_ / "a"));
  EXPECT_EQ(entries(), 1);
}

TEST_F(WriteFolderTest, FolderThatIsBeingBuiltIsLeftAlone) {
  EXPECT_THROW(write_folder_atomically(out_,
                                       [&](const fs::path& first) {
                                         std::ofstream(first / "first") << "1";
                                         write_folder_atomically(out_, [](const fs::path& second) {
                                           std::ofstream(second / "second") << "2";
                                         });
                                         EXPECT_TRUE(fs::exists(first / "first"));
                                       }),
               Error);
  EXPECT_TRUE(fs::exists(out_ / "second"));
  EXPECT_EQ(entries(), 1) << "what comes late is removed";
}

TEST_F(WriteFolderTest, FolderOfSimilarNameIsNotTakenForAnUnfinishedOne) {
  for (const char* const name : {"out.unfinished-notes", "out.unfinished", "other.unfinished-0123456789abcdef"}) {
    fs::create_directories(parent_ / name);
  }
  write_folder_atomically(out_, [](const fs::path&) {});
  EXPECT_EQ(entries(), 4);
}

TEST_F(WriteFolderTest, FolderHasThePermissionsOfAnyNewOne) {
  fs::create_directory(parent_ / "other");
  write_folder_atomically(out_, [](const fs::path&) {});
  EXPECT_EQ(fs::status(out_).permissions(), fs::status(parent_ / "other").permissions());
}

TEST_F(WriteFolderTest, FolderThatHoldsSomethingIsRefused) {
  fs::create_directories(out_);
  EXPECT_NO_THROW(require_free_folder(out_)) << "an empty one will do";
  std::ofstream(out_ / "mine") << "1";
  EXPECT_THROW(write_folder_atomically(out_, [](const fs::path&) {}), InputError);
  EXPECT_TRUE(fs::exists(out_ / "mine"));
}

TEST_F(WriteFolderTest, LinkToALinkHoldsTheContentItself) {
  std::ofstream(parent_ / "blob") << "content";
  fs::create_symlink("blob", parent_ / "name");
  link_or_copy(parent_ / "name", parent_ / "linked");
  fs::remove(parent_ / "name");
  fs::remove(parent_ / "blob");
  EXPECT_TRUE(fs::is_regular_file(parent_ / "linked"));
  EXPECT_EQ(fs::file_size(parent_ / "linked"), 7U);
}

}  // namespace
}  // namespace longrope

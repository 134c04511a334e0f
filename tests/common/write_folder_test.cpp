#include "common/write_folder.h"

#include <fstream>
#include <stdexcept>

#include <gtest/gtest.h>

#include "common/error.h"

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

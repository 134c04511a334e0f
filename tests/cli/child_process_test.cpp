#include "cli/child_process.h"

#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "common/error.h"

namespace longrope {
namespace {

class ChildProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  [[nodiscard]] ChildEnd shell(const std::string& script) const {
    return run_child({.command = {"/bin/sh", "-c", script},
                      .folder = folder_,
                      .log = folder_ / "log",
                      .environment = {{"ANSWER", "42"}}});
  }
  [[nodiscard]] std::string log() const {
    std::ifstream stream(folder_ / "log");
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(ChildProcessTest, SuccessIsExitCodeZero) {
  const ChildEnd end = shell("echo out; echo err >&2");
  EXPECT_TRUE(end.success);
  EXPECT_FALSE(end.stopped);
  EXPECT_NE(log().find("out\n"), std::string::npos);
  EXPECT_NE(log().find("err\n"), std::string::npos);
}

TEST_F(ChildProcessTest, LastLineOnStandardErrorSaysWhyItFailed) {
  const ChildEnd end = shell("echo one >&2; echo two >&2; exit 7");
  EXPECT_FALSE(end.success);
  EXPECT_EQ(end.last_line, "two");
}

TEST_F(ChildProcessTest, SilentFailureIsNamedByItsCode) {
  EXPECT_EQ(shell("exit 7").last_line, "exit code 7");
  EXPECT_EQ(shell("kill -9 $$").last_line, "killed by signal 9");
}

TEST_F(ChildProcessTest, RunsInItsFolderWithItsEnvironment) {
  EXPECT_TRUE(shell("test \"$ANSWER\" = 42 && touch here").success);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "here"));
}

TEST_F(ChildProcessTest, ProgramThatIsNotThereFails) {
  const ChildEnd end = run_child({.command = {"no-such-program"}, .folder = folder_, .log = folder_ / "log"});
  EXPECT_FALSE(end.success);
  EXPECT_EQ(end.last_line, "the program cannot be started");
}

}  // namespace
}  // namespace longrope

#include "coordinator/processes/child_process.h"

#include "common/error.h"
#include "common/stop_signals.h"
#include "coordinator/processes/spawn.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

namespace longrope {
namespace {

using testing::ExitedWithCode;
using testing::HasSubstr;
using testing::ThrowsMessage;

ChildEnd run_child(const Child& child) { return run_children({child}); }

class ChildProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  [[nodiscard]] Child script(const std::string& text) const {
    return {.command = {"/bin/sh", "-c", text},
            .folder = folder_,
            .log = folder_ / "log",
            .environment = {{"ANSWER", "42"}}};
  }
  [[nodiscard]] ChildEnd shell(const std::string& text) const { return run_child(script(text)); }
  /// For death tests: a stop request stays with the process.
  [[noreturn]] static void run_to_a_stop(const Child& child) {
    stop_on_signals();
    const ChildEnd end = run_child(child);
    std::_Exit(end.stopped && !end.success ? 0 : 1);
  }

  /// A FIFO in the folder, opened: who reads from it waits until this is closed.
  [[nodiscard]] Descriptor fifo(const char* name, int flags = O_RDWR) const {
    const std::filesystem::path file = folder_ / name;
    EXPECT_EQ(mkfifo(file.c_str(), 0600), 0);
    return Descriptor(open(file.c_str(), flags | O_CLOEXEC));
  }
  /// Whether all who had the FIFO open for writing, and there was one, end or have ended.
  [[nodiscard]] static bool loses_its_writers(const Descriptor& fifo) {
    constexpr int kPatienceMilliseconds = 60'000;
    pollfd ready{fifo.value(), POLLIN, 0};
    return poll(&ready, 1, kPatienceMilliseconds) == 1 && (ready.revents & POLLHUP) != 0;
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

TEST_F(ChildProcessTest, SignalThatKilledItIsNamedBesideItsLastLine) {
  EXPECT_EQ(shell("echo step 7 >&2; kill -9 $$").last_line, "step 7; killed by signal 9");
}

// The scripts below start a process that reads from the FIFO `held` until that is closed, and go on when it runs.

TEST_F(ChildProcessTest, DaemonThatKeepsStandardErrorOpenDoesNotHoldUpSuccess) {
  const Descriptor held = fifo("held");
  const ChildEnd end = shell("mkfifo up; (exec < held; echo > up; read line) & read line < up; echo trained >&2");
  EXPECT_TRUE(end.success);
  EXPECT_EQ(end.last_line, "trained");
}

TEST_F(ChildProcessTest, WhatAFailedCommandLeavesIsEnded) {
  const Descriptor held = fifo("held");
  const Descriptor alive = fifo("alive", O_RDONLY | O_NONBLOCK);
  const ChildEnd end = shell("mkfifo up; (exec < held 3> alive; echo > up; read line) & read line < up; exit 7");
  EXPECT_EQ(end.last_line, "exit code 7");
  EXPECT_TRUE(loses_its_writers(alive));
}

TEST_F(ChildProcessTest, StopWaitsForAllThatTheCommandStarted) {
  const Descriptor held = fifo("held");
  const Child child = script(
      // Its own child is another program before it says so: between fork and exec it would swallow the signal.
      "mkfifo up; (trap 'echo > saved; exit' TERM; sh -c 'echo > up; exec cat held' & wait) & read line < up; "
      "kill -TERM $PPID; wait");
  EXPECT_EXIT(run_to_a_stop(child), ExitedWithCode(0), "");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "saved"));
}

TEST_F(ChildProcessTest, ChildThatTheSignalEndedFirstWasStopped) {
  EXPECT_EXIT(
      {
        stop_on_signals();
        // This process stands still until the child has ended, and finds the signal and the end together.
        const ChildEnd end = shell(
            "mkfifo gone; (read line < gone; until grep -q ') Z' /proc/$$/stat; do :; done; kill -CONT $PPID) & "
            "exec 3> gone; kill -STOP $PPID; kill -TERM $PPID; exit 7");
        std::_Exit(end.stopped ? 0 : 1);
      },
      ExitedWithCode(0), "");
}

TEST_F(ChildProcessTest, StopKillsWhatTheCommandStartedAndIgnoresIt) {
  const Descriptor held = fifo("held");
  const Descriptor alive = fifo("alive", O_RDONLY | O_NONBLOCK);
  Child child = script(
      "mkfifo up; (trap '' TERM; exec < held 3> alive; echo > up; read line) & read line < up; kill -TERM $PPID; wait");
  child.rest_patience = std::chrono::milliseconds(0);
  EXPECT_EXIT(run_to_a_stop(child), ExitedWithCode(0), "");
  EXPECT_TRUE(loses_its_writers(alive));
}

TEST_F(ChildProcessTest, NothingStartsBesideWhatAnEarlierStartLeft) {
  Descriptor held = fifo("held");
  ASSERT_TRUE(shell("mkfifo up; (exec < held > silent; echo > up; read line) & read line < up").success);
  Child second = script("touch second");
  second.log_patience = std::chrono::milliseconds(0);
  EXPECT_THAT([&] { static_cast<void>(run_child(second)); },
              ThrowsMessage<Error>(HasSubstr("cannot start the command: the one of an earlier start still runs (")));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "second"));
  held.close();
  EXPECT_TRUE(shell("touch second").success) << "when it has gone";
}

TEST_F(ChildProcessTest, EnvironmentOfAChildStandsInPlaceOfThisProcesss) {
  ASSERT_EQ(setenv("ANSWER", "7", /*overwrite=*/1), 0);
  EXPECT_TRUE(shell("test \"$ANSWER\" = 42").success);
  unsetenv("ANSWER");
}

TEST_F(ChildProcessTest, ChildrenThatWorkTogetherSucceedTogether) {
  ASSERT_EQ(mkfifo((folder_ / "with").c_str(), 0600), 0);
  Child second = script("echo > with; echo second >&2");
  second.log = folder_ / "log.2";
  const ChildEnd end = run_children({script("read line < with"), second});
  EXPECT_TRUE(end.success);
  EXPECT_FALSE(end.stopped);
}

TEST_F(ChildProcessTest, ChildrenEndWhenOneOfThemDies) {
  const Descriptor held = fifo("held");
  const Descriptor alive = fifo("alive", O_RDONLY | O_NONBLOCK);
  Child second = script("read line < up; kill -9 $$");
  second.log = folder_ / "log.2";
  ASSERT_EQ(mkfifo((folder_ / "up").c_str(), 0600), 0);
  const ChildEnd end = run_children({script("exec < held 3> alive; echo > up; read line"), second});
  EXPECT_FALSE(end.success);
  EXPECT_FALSE(end.stopped) << "no signal came to this process";
  EXPECT_EQ(end.last_line, "process 2 of 2: killed by signal 9");
  EXPECT_TRUE(loses_its_writers(alive));
}

TEST_F(ChildProcessTest, StopReachesAllChildrenThatWorkTogether) {
  const Descriptor held = fifo("held");
  ASSERT_EQ(mkfifo((folder_ / "up").c_str(), 0600), 0);
  Child second = script("trap 'echo > saved; exit' TERM; echo > up; read line < held & wait");
  second.log = folder_ / "log.2";
  // A shell that forks its reader just as the signal comes may lose it for the reader, which is then killed.
  second.rest_patience = std::chrono::seconds(1);
  const std::vector<Child> both = {script("read line < up; kill -TERM $PPID; read line < held"), second};
  EXPECT_EXIT(
      {
        stop_on_signals();
        const ChildEnd end = run_children(both);
        std::_Exit(end.stopped && !end.success ? 0 : 1);
      },
      ExitedWithCode(0), "");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "saved"));
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

#include "coordinator/processes/local_workers.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

namespace longrope {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using testing::ThrowsMessage;

/// Waits until a child of this process has ended, and leaves it to be reaped.
void wait_for_an_end() {
  siginfo_t ended{};
  ASSERT_EQ(waitid(P_ALL, 0, &ended, WEXITED | WNOWAIT), 0);
}

class LocalWorkersTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  /// Options of one worker that runs `script` instead of longrope-worker.
  [[nodiscard]] LocalWorkerOptions worker_that(const std::string& script) {
    const std::filesystem::path program = folder_ / "worker";
    std::ofstream(program) << "#!/bin/sh\n" << script << '\n';
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    return {.endpoint = "tcp://127.0.0.1:1",
            .model_root = folder_,
            .devices = {"cpu"},
            .log = folder_ / "log",
            .say = [this](const std::string& line) { said_.push_back(line); },
            .program = program};
  }

  std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) /
      ("local_workers_test-" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
  std::vector<std::string> said_;
  milliseconds now_ = read_clocks().steady;
};

TEST_F(LocalWorkersTest, WorkerKilledByASignalIsStartedAgainAndSaid) {
  LocalWorkers workers(worker_that("kill -9 $$"));
  for (int restart = 1; restart <= 3; ++restart) {
    wait_for_an_end();
    workers.supervise(now_ += milliseconds(2000));
  }
  EXPECT_THAT(said_, ElementsAre(StartsWith("worker local-1 ended by signal 9; started again (1st time)"),
                                 StartsWith("worker local-1 ended by signal 9; started again (2nd time)"),
                                 StartsWith("worker local-1 ended by signal 9; started again (3rd time)")));
}

TEST_F(LocalWorkersTest, WorkerThatFailedIsSaidWithItsExitCodeAndLog) {
  LocalWorkers workers(worker_that("exit 7"));
  wait_for_an_end();
  workers.supervise(now_ += milliseconds(2000));
  EXPECT_THAT(said_, ElementsAre("worker local-1 ended with exit code 7; started again (1st time); log: " +
                                 (folder_ / "log").string()));
}

TEST_F(LocalWorkersTest, WorkerThatDiesAtOnceIsNotStartedAgainWithinASecond) {
  LocalWorkers workers(worker_that("exit 7"));
  wait_for_an_end();
  workers.supervise(now_);
  EXPECT_THAT(said_, IsEmpty());
  workers.supervise(now_ += milliseconds(2000));
  EXPECT_EQ(said_.size(), 1U);
}

TEST_F(LocalWorkersTest, WorkerThatCannotServeIsNoReasonToStartAnother) {
  LocalWorkers workers(worker_that("exit 2"));
  wait_for_an_end();
  EXPECT_THAT([&] { workers.supervise(now_ += milliseconds(2000)); },
              ThrowsMessage<Error>(HasSubstr("worker local-1 cannot serve this search")));
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(LocalWorkersTest, EleventhTimeIsNoFirst) {
  LocalWorkers workers(worker_that("exit 7"));
  for (int restart = 1; restart <= 22; ++restart) {
    wait_for_an_end();
    workers.supervise(now_ += milliseconds(2000));
  }
  EXPECT_THAT(said_[10], HasSubstr("(11th time)"));
  EXPECT_THAT(said_[20], HasSubstr("(21st time)"));
  EXPECT_THAT(said_[21], HasSubstr("(22nd time)"));
}

}  // namespace
}  // namespace longrope

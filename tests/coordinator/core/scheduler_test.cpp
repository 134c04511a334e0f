#include "coordinator/core/scheduler.h"

#include "common/error.h"
#include "tests/support/scheduler_driver.h"
#include "tests/support/search_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;

const Sender kFirst{"worker-1", "incarnation-1"};
const Sender kSecond{"worker-2", "incarnation-2"};
const Sender kRestarted{"worker-1", "incarnation-3"};

std::string peer_of(const Sender& sender) { return SchedulerDriver::peer_of(sender); }

std::string outcome(const Effects& effects) {
  const auto acknowledged = messages_of<Acknowledge>(effects);
  return acknowledged.size() == 1 ? acknowledged.front().outcome : "";
}

/// Keeps `sender` alive and moving for `time`.
void live(SchedulerDriver& driver, const Sender& sender, milliseconds time, bool moving) {
  static std::int64_t progress = 0;
  for (milliseconds passed{0}; passed < time; passed += seconds(1)) {
    (void)driver.pass(seconds(1));
    (void)driver.beat(sender, moving ? ++progress : progress);
  }
}

class SchedulerTest : public testing::Test {
 protected:
  SchedulerDriver driver_;
};

// Greeting. -------------------------------------------------------------------------------------------------------

TEST_F(SchedulerTest, WorkerIsWelcomedWithModelAndSessionAndGetsWorkWhenReady) {
  const Effects welcomed = driver_.hello(kFirst);
  const auto welcome = messages_of<Welcome>(welcomed, peer_of(kFirst));
  ASSERT_EQ(welcome.size(), 1U);
  EXPECT_EQ(welcome.front().model_digest, "fixture-model-digest");
  EXPECT_EQ(welcome.front().dtype, "fp32");
  EXPECT_EQ(welcome.front().heartbeat_milliseconds, 1000);
  EXPECT_TRUE(messages_of<Work>(welcomed).empty());
  const auto work = messages_of<Work>(driver_.ready(kFirst), peer_of(kFirst));
  ASSERT_EQ(work.size(), 2U) << "credit";
  EXPECT_EQ(work.front().length, kFixtureTargetLength);
  EXPECT_EQ(work.front().lambda.size(), 8U);
  EXPECT_EQ(driver_.lease_of(work.front().lease).worker, "worker-1");
}

TEST_F(SchedulerTest, UnknownWorkerIsAskedToIntroduceItself) {
  EXPECT_EQ(messages_of<Introduce>(driver_.beat(kFirst, 1), peer_of(kFirst)).size(), 1U);
  EXPECT_EQ(messages_of<Introduce>(driver_.ready(kFirst), peer_of(kFirst)).size(), 1U);
  EXPECT_TRUE(driver_.held_by(kFirst).empty());
}

TEST_F(SchedulerTest, StrangersLeaveNoRows) {
  (void)driver_.join(kFirst);
  const Sender stranger{"stranger", "s"};
  (void)driver_.say(stranger, Leaving{stranger});
  (void)driver_.say(stranger, Unable{stranger, "no model"});
  (void)driver_.finish(stranger, {1, 0}, result_with_mean(2.0));
  EXPECT_FALSE(driver_.rows.workers.contains("stranger"));
}

TEST_F(SchedulerTest, OtherThreadsAreRefused) {
  const auto refused = messages_of<Refuse>(driver_.say(kFirst, Hello{kFirst, "host", 4, {}}));
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_NE(refused.front().reason.find("4 offered, 1 configured"), std::string::npos) << refused.front().reason;
  EXPECT_TRUE(driver_.held_by(kFirst).empty());
}

TEST_F(SchedulerTest, HelloThatClaimsToHoldEverythingGetsABoundedAnswer) {
  std::vector<LeaseId> held;
  for (std::int64_t i = 1; i <= 65536; ++i) held.push_back({i, 1});
  const Effects effects = driver_.hello(kFirst, held);
  EXPECT_LE(effects.messages.size(), 1000U);
  EXPECT_EQ(messages_of<Welcome>(effects).size(), 1U);
}

TEST_F(SchedulerTest, OtherModelDigestIsRefused) {
  (void)driver_.hello(kFirst);
  const Effects effects = driver_.say(kFirst, Ready{kFirst, "other-digest", "cpu", 1});
  ASSERT_EQ(messages_of<Refuse>(effects, peer_of(kFirst)).size(), 1U);
  EXPECT_EQ(driver_.rows.workers.at("worker-1").state, WorkerState::kRefused);
  EXPECT_TRUE(messages_of<Work>(effects).empty());
  EXPECT_EQ(messages_of<Refuse>(driver_.hello(kFirst)).size(), 1U) << "the same process asks again";
}

TEST_F(SchedulerTest, DeviceOfAnotherKindThanTheSearchComputesOnIsRefused) {
  (void)driver_.join(kFirst);  // on a CPU
  (void)driver_.hello(kSecond);
  const Effects effects =
      driver_.say(kSecond, Ready{kSecond, small_plan().model_digest, "Torch 2.13.0, cuda:0 (own kernels)", 1});
  ASSERT_EQ(messages_of<Refuse>(effects, peer_of(kSecond)).size(), 1U);
  EXPECT_THAT(messages_of<Refuse>(effects, peer_of(kSecond)).front().reason,
              testing::HasSubstr("it computes on cpu, this worker on cuda"));
  EXPECT_EQ(driver_.rows.workers.at("worker-2").state, WorkerState::kRefused);
}

TEST_F(SchedulerTest, CpuWithBfloat16ProductsIsOfAnotherKindThanOneWithout) {
  (void)driver_.join(kFirst);
  (void)driver_.hello(kSecond);
  const Effects effects = driver_.say(
      kSecond,
      Ready{kSecond, small_plan().model_digest,
            "Torch 2.13.0, cpu EPYC (own AVX512-BF16 kernels, 1 threads), Float arithmetic, BFloat16 products", 1});
  ASSERT_EQ(messages_of<Refuse>(effects, peer_of(kSecond)).size(), 1U);
  EXPECT_THAT(messages_of<Refuse>(effects, peer_of(kSecond)).front().reason,
              testing::HasSubstr("it computes on cpu, this worker on cpu with bfloat16 products"));
}

TEST_F(SchedulerTest, WorkerThatCannotLoadTheModelIsRecordedAsRefused) {
  (void)driver_.hello(kFirst);
  (void)driver_.say(kFirst, Unable{kFirst, "no model.safetensors"});
  EXPECT_EQ(driver_.rows.workers.at("worker-1").state, WorkerState::kRefused);
  EXPECT_EQ(driver_.rows.workers.at("worker-1").detail, "no model.safetensors");
}

TEST_F(SchedulerTest, EverybodyGetsAFirstLeaseBeforeAnybodyGetsASecond) {
  SearchPlan plan = small_plan();
  plan.stages.front().search.resize(1);
  plan.stages.front().config.search.num_mutations = 1;
  plan.stages.front().config.search.num_crossovers = 1;
  SchedulerDriver driver(plan);
  (void)driver.join(kFirst);
  (void)driver.join(kSecond);
  // The last result of the first generation makes exactly two evaluations wanted at once.
  for (int answered = 0; answered < 6; ++answered) {
    const Sender& sender = driver.held_by(kFirst).empty() ? kSecond : kFirst;
    const LeaseId lease = driver.held_by(sender).front();
    (void)driver.finish(sender, lease, driver.fitness(lease));
  }
  EXPECT_EQ(driver.held_by(kFirst).size(), 1U);
  EXPECT_EQ(driver.held_by(kSecond).size(), 1U);
}

// Leases. ---------------------------------------------------------------------------------------------------------

TEST_F(SchedulerTest, ResultIsAcknowledgedAsStoredTogetherWithItsRow) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  EXPECT_EQ(outcome(driver_.finish(kFirst, lease, result_with_mean(2.5))), "stored");
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kScored);
  EXPECT_EQ(driver_.lease_of(lease).end, LeaseEnd::kScored);
  EXPECT_EQ(driver_.rows.workers.at("worker-1").results, 1);
}

TEST_F(SchedulerTest, DuplicateResultIsStoredOnce) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  (void)driver_.finish(kFirst, lease, result_with_mean(2.5));
  EXPECT_EQ(outcome(driver_.finish(kFirst, lease, result_with_mean(2.5))), "duplicate");
  EXPECT_EQ(driver_.rows.workers.at("worker-1").results, 1);
  EXPECT_TRUE(driver_.rows.late_results.empty());
}

TEST_F(SchedulerTest, SilentWorkerLosesItsLeases) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  for (int i = 0; i < 3; ++i) (void)driver_.pass(seconds(3));
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kLeased);
  (void)driver_.pass(seconds(1));
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
  EXPECT_EQ(driver_.lease_of(lease).end, LeaseEnd::kExpired);
  EXPECT_EQ(driver_.rows.workers.at("worker-1").state, WorkerState::kLost);
}

TEST_F(SchedulerTest, ExpiredLeaseReturnsEvaluationToPendingAndGoesToAnother) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  (void)driver_.step(PeerUnreachable{peer_of(kFirst)});
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
  (void)driver_.join(kSecond);
  const LeaseId again = driver_.held_by(kSecond).front();
  EXPECT_EQ(again, (LeaseId{lease.evaluation, lease.epoch + 1}));
  EXPECT_EQ(driver_.rows.evaluations.at(lease.evaluation).failures, 0) << "nobody's fault";
}

TEST_F(SchedulerTest, StaleEpochNeverChangesState) {
  (void)driver_.join(kFirst);
  const LeaseId stale = driver_.held_by(kFirst).front();
  (void)driver_.step(PeerUnreachable{peer_of(kFirst)});
  (void)driver_.join(kSecond);
  EXPECT_EQ(outcome(driver_.finish(kFirst, stale, result_with_mean(2.5))), "late");
  EXPECT_EQ(driver_.state_of(stale), EvaluationState::kLeased);
  EXPECT_EQ(driver_.rows.late_results.begin()->second.same_as_stored, std::nullopt);
  (void)driver_.finish(kSecond, {stale.evaluation, stale.epoch + 1}, result_with_mean(2.5));
  EXPECT_EQ(outcome(driver_.finish(kFirst, stale, result_with_mean(2.5))), "late");
  EXPECT_EQ(driver_.rows.late_results.begin()->second.same_as_stored, true);
  EXPECT_EQ(outcome(driver_.finish(kFirst, stale, result_with_mean(2.6))), "late");
  EXPECT_EQ(driver_.rows.late_results.begin()->second.same_as_stored, false);
  EXPECT_EQ(driver_.rows.evaluations.at(stale.evaluation).result->nll_sum, 250.0);
}

TEST_F(SchedulerTest, ResultOfALeaseThatWasNeverGivenIsRejected) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  for (const LeaseId& forged : {LeaseId{lease.evaluation, lease.epoch + 1}, LeaseId{0, 1}, LeaseId{100000, 1},
                                LeaseId{std::numeric_limits<std::int64_t>::max(), 1}}) {
    EXPECT_EQ(outcome(driver_.finish(kFirst, forged, result_with_mean(2.5))), "rejected") << forged.evaluation;
  }
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kLeased);
}

TEST_F(SchedulerTest, StrangersResultChangesNothing) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  EXPECT_EQ(outcome(driver_.finish(kSecond, lease, result_with_mean(2.5))), "late");
  EXPECT_EQ(outcome(driver_.finish(kRestarted, lease, result_with_mean(2.5))), "late");
  (void)driver_.fail(kSecond, lease, EvaluationError::kInternal);
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kLeased);
  EXPECT_EQ(driver_.rows.evaluations.at(lease.evaluation).failures, 0);
}

TEST_F(SchedulerTest, HungWorkerIsGivenUpByProgressNotByHeartbeat) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  live(driver_, kFirst, seconds(60), /*moving=*/true);
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kLeased) << "slow is not hung";
  live(driver_, kFirst, seconds(29), /*moving=*/false);
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kLeased);
  (void)driver_.pass(seconds(1));
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
  EXPECT_NE(driver_.rows.workers.at("worker-1").detail.find("no progress"), std::string::npos);
  // It may come back, without its work.
  const Effects back = driver_.hello(kFirst, {lease});
  EXPECT_EQ(messages_of<Revoke>(back).size(), 1U);
  EXPECT_EQ(messages_of<Welcome>(back).size(), 1U);
}

TEST_F(SchedulerTest, HungWorkerThatNeverSaysItIsReadyLosesItsLeaseToo) {
  (void)driver_.join(kFirst);
  const std::vector<LeaseId> leases = driver_.held_by(kFirst);
  driver_.restart();
  (void)driver_.hello(kFirst, leases);
  live(driver_, kFirst, seconds(31), /*moving=*/false);
  EXPECT_EQ(driver_.state_of(leases.front()), EvaluationState::kPending);
}

TEST_F(SchedulerTest, IdleWorkerIsNeverHung) {
  SearchPlan plan = small_plan();
  plan.stages.front().search.resize(1);
  plan.stages.front().budget = 1;
  SchedulerDriver driver(plan);
  (void)driver.join(kFirst);
  (void)driver.join(kSecond);
  for (int i = 0; i < 100; ++i) {
    (void)driver.pass(seconds(1));
    (void)driver.beat(kFirst, i);
    (void)driver.beat(kSecond, 0);
  }
  EXPECT_EQ(driver.rows.workers.at("worker-2").state, WorkerState::kConnected);
}

TEST_F(SchedulerTest, WorkThatNeverArrivedIsTakenBack) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  (void)driver_.pass(seconds(5));
  (void)driver_.say(kFirst, Heartbeat{kFirst, 0, {}});
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kLeased) << "the frames may have crossed";
  (void)driver_.pass(seconds(6));
  (void)driver_.say(kFirst, Heartbeat{kFirst, 0, {}});
  EXPECT_EQ(driver_.lease_of(lease).end, LeaseEnd::kReleased);
}

TEST_F(SchedulerTest, AJumpOfTheWallClockTakesNoWorkBack) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  driver_.set_wall_clock_forward(std::chrono::hours(1));
  (void)driver_.pass(seconds(1));
  (void)driver_.say(kFirst, Heartbeat{kFirst, 0, {}});  // crossed the work on its way
  EXPECT_FALSE(driver_.lease_of(lease).end);
  driver_.set_wall_clock_forward(-std::chrono::hours(2));
  (void)driver_.pass(seconds(5));
  (void)driver_.beat(kFirst, 1);
  (void)driver_.pass(seconds(5));
  (void)driver_.say(kFirst, Heartbeat{kFirst, 1, {}});
  EXPECT_EQ(driver_.lease_of(lease).end, LeaseEnd::kReleased);
}

TEST_F(SchedulerTest, WorkThatWaitedForTheDiskIsNotTakenBackByAnOlderHeartbeat) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  // The disk was full: the work left only now, and the next frame to be read was sent before it.
  driver_.sleep(seconds(60));
  (void)driver_.say(kFirst, Heartbeat{kFirst, 0, {}});
  EXPECT_FALSE(driver_.lease_of(lease).end);
}

TEST_F(SchedulerTest, LeavingWorkerGivesItsLeasesBack) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  (void)driver_.say(kFirst, Leaving{kFirst});
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
  EXPECT_EQ(driver_.rows.workers.at("worker-1").state, WorkerState::kLeft);
}

TEST_F(SchedulerTest, SleepingCoordinatorDoesNotBlameWorkers) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  driver_.sleep(seconds(3600));
  (void)driver_.pass(milliseconds(0));
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kLeased);
  EXPECT_EQ(outcome(driver_.finish(kFirst, lease, result_with_mean(2.0))), "stored");
}

TEST_F(SchedulerTest, NextDeadlineIsNeverZeroForLongOnceTheStepWasTaken) {
  (void)driver_.join(kFirst);
  const std::vector<LeaseId> leases = driver_.held_by(kFirst);
  driver_.restart();
  (void)driver_.hello(kFirst, leases);
  for (int i = 0; i < 200; ++i) {
    (void)driver_.pass(milliseconds(500));
    (void)driver_.beat(kFirst, 0);
    EXPECT_GT(driver_.scheduler().next_deadline(driver_.now()), milliseconds(0)) << "a busy loop, after " << i;
  }
}

// One process for each worker id. ---------------------------------------------------------------------------------

/// What `challenger` is told while it says hello for `time`, as the worker's protocol does, and `holder` (if any)
/// sends its heartbeats.
std::vector<CoordinatorMessage> say_hello_for(SchedulerDriver& driver, const Sender& challenger, milliseconds time,
                                              const Sender* holder) {
  std::vector<CoordinatorMessage> told;
  const auto note = [&](const Effects& effects) {
    for (const Outgoing& outgoing : effects.messages) {
      if (outgoing.peer == peer_of(challenger)) told.push_back(outgoing.message);
    }
  };
  for (milliseconds passed{0}; passed < time && told.empty(); passed += milliseconds(500)) {
    note(driver.hello(challenger));
    if (holder != nullptr) note(driver.beat(*holder, passed.count()));
    note(driver.pass(milliseconds(500)));
  }
  return told;
}

bool introduced(const std::vector<CoordinatorMessage>& told) {
  return told.size() == 1 && std::holds_alternative<Introduce>(told.front());
}

TEST_F(SchedulerTest, SecondLiveProcessUnderOneIdIsRefusedByNameAndDisturbsNothing) {
  (void)driver_.join(kFirst);
  const std::vector<LeaseId> leases = driver_.held_by(kFirst);
  const auto told = say_hello_for(driver_, kRestarted, seconds(6), &kFirst);
  ASSERT_EQ(told.size(), 1U);
  const auto* refused = std::get_if<Refuse>(&told.front());
  ASSERT_NE(refused, nullptr) << told.front().index();
  EXPECT_NE(refused->reason.find("worker-1"), std::string::npos) << refused->reason;
  EXPECT_NE(refused->reason.find("on host"), std::string::npos) << refused->reason;
  EXPECT_EQ(driver_.held_by(kFirst), leases);
  // Its last words say nothing about the other process.
  (void)driver_.say(kRestarted, Leaving{kRestarted});
  (void)driver_.say(kRestarted, Unable{kRestarted, "no model"});
  EXPECT_EQ(driver_.held_by(kFirst), leases);
  EXPECT_EQ(driver_.rows.workers.at("worker-1").state, WorkerState::kConnected);
  EXPECT_EQ(driver_.rows.workers.at("worker-1").incarnation, "incarnation-1");
}

TEST_F(SchedulerTest, NothingIsDecidedBetweenTwoProcessesOfOneIdUntilItIsKnownWhichOneLives) {
  (void)driver_.join(kFirst);
  const std::vector<LeaseId> leases = driver_.held_by(kFirst);
  EXPECT_TRUE(say_hello_for(driver_, kRestarted, seconds(2), nullptr).empty());
  EXPECT_EQ(driver_.held_by(kFirst), leases);
}

TEST_F(SchedulerTest, ProcessStartedAgainIsAdmittedAtOnceWhenTheConnectionOfTheEarlierOneIsGone) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  // The question whether the earlier process is there finds its connection gone, if the process was killed.
  EXPECT_EQ(messages_of<Pong>(driver_.hello(kRestarted), peer_of(kFirst)).size(), 1U);
  const Effects gone = driver_.step(PeerUnreachable{peer_of(kFirst)});
  EXPECT_EQ(messages_of<Introduce>(gone, peer_of(kRestarted)).size(), 1U);
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
  EXPECT_EQ(messages_of<Welcome>(driver_.hello(kRestarted), peer_of(kRestarted)).size(), 1U);
  EXPECT_EQ(driver_.rows.workers.at("worker-1").incarnation, "incarnation-3");
  EXPECT_EQ(driver_.rows.workers.at("worker-1").state, WorkerState::kConnected);
}

TEST_F(SchedulerTest, ProcessStartedAgainIsAdmittedAfterThreeSilentHeartbeatsOfTheEarlierOne) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  EXPECT_TRUE(introduced(say_hello_for(driver_, kRestarted, milliseconds(3500), nullptr)));
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
  EXPECT_EQ(driver_.lease_of(lease).end, LeaseEnd::kExpired);
  EXPECT_EQ(messages_of<Welcome>(driver_.hello(kRestarted)).size(), 1U);
}

TEST_F(SchedulerTest, LastFramesOfADeadProcessDoNotRefuseItsSuccessor) {
  (void)driver_.join(kFirst);
  (void)driver_.hello(kRestarted);
  (void)driver_.pass(milliseconds(100));
  (void)driver_.beat(kFirst, 1);  // was on its way when the process died
  EXPECT_TRUE(introduced(say_hello_for(driver_, kRestarted, seconds(4), nullptr)));
  EXPECT_EQ(messages_of<Welcome>(driver_.hello(kRestarted)).size(), 1U);
}

TEST_F(SchedulerTest, FramesThatWaitedForASleepingCoordinatorDoNotRefuseASuccessor) {
  (void)driver_.join(kFirst);
  (void)driver_.hello(kRestarted);
  driver_.sleep(seconds(60));
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(messages_of<Refuse>(driver_.hello(kRestarted)).empty());
    (void)driver_.beat(kFirst, i);
  }
  EXPECT_TRUE(introduced(say_hello_for(driver_, kRestarted, seconds(4), nullptr)));
}

TEST_F(SchedulerTest, LiveProcessIsNotTakenForDeadBecauseTheCoordinatorSlept) {
  (void)driver_.join(kFirst);
  const std::vector<LeaseId> leases = driver_.held_by(kFirst);
  (void)driver_.hello(kRestarted);
  driver_.sleep(seconds(5));
  (void)driver_.hello(kRestarted);
  EXPECT_EQ(driver_.held_by(kFirst), leases);
}

TEST_F(SchedulerTest, RefusedSecondProcessDoesNotSpoilALaterRestart) {
  (void)driver_.join(kFirst);
  const Sender twin{"worker-1", "incarnation-9"};
  const auto told = say_hello_for(driver_, twin, seconds(6), &kFirst);
  ASSERT_EQ(told.size(), 1U);
  ASSERT_TRUE(std::holds_alternative<Refuse>(told.front()));
  EXPECT_TRUE(introduced(say_hello_for(driver_, kRestarted, seconds(4), nullptr))) << "waited, not refused";
}

TEST_F(SchedulerTest, ProcessStartedAgainWithItsCoordinatorIsAdmittedAfterThreeSilentHeartbeats) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  driver_.restart();
  EXPECT_TRUE(introduced(say_hello_for(driver_, kRestarted, milliseconds(3500), nullptr)));
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
  EXPECT_EQ(messages_of<Welcome>(driver_.hello(kRestarted)).size(), 1U);
}

TEST_F(SchedulerTest, SecondProcessIsRefusedAfterARestartOfTheCoordinatorTooWhenTheFirstSpeaks) {
  (void)driver_.join(kFirst);
  const std::vector<LeaseId> leases = driver_.held_by(kFirst);
  driver_.restart();
  (void)driver_.hello(kRestarted);
  (void)driver_.pass(milliseconds(1500));
  (void)driver_.hello(kFirst, leases);
  const auto told = say_hello_for(driver_, kRestarted, seconds(5), &kFirst);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(std::holds_alternative<Refuse>(told.front()));
  EXPECT_EQ(driver_.held_by(kFirst), leases);
}

TEST_F(SchedulerTest, ManyProcessesUnderOneIdAreRememberedInBoundedNumber) {
  (void)driver_.join(kFirst);
  for (int i = 0; i < 1000; ++i) (void)driver_.hello({"worker-1", "flood-" + std::to_string(i)});
  const Effects gone = driver_.step(PeerUnreachable{peer_of(kFirst)});
  EXPECT_GE(messages_of<Introduce>(gone).size(), 1U);
  EXPECT_LE(messages_of<Introduce>(gone).size(), 16U);
  EXPECT_EQ(messages_of<Welcome>(driver_.hello(kRestarted)).size(), 1U);
}

// Restart of the coordinator. -------------------------------------------------------------------------------------

TEST_F(SchedulerTest, ResultOfRestoredLeaseIsAcceptedAfterRestart) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  driver_.restart();
  EXPECT_EQ(outcome(driver_.finish(kFirst, lease, result_with_mean(2.0))), "stored");
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kScored);
}

TEST_F(SchedulerTest, WorkerOfAnEarlierProcessIsAskedToIntroduceItselfAlthoughItHoldsLeases) {
  (void)driver_.join(kFirst);
  const std::vector<LeaseId> leases = driver_.held_by(kFirst);
  driver_.restart();
  EXPECT_EQ(messages_of<Introduce>(driver_.beat(kFirst, 5), peer_of(kFirst)).size(), 1U);
  (void)driver_.hello(kFirst, leases);
  EXPECT_EQ(driver_.held_by(kFirst), leases);
  (void)driver_.ready(kFirst);
  (void)driver_.finish(kFirst, leases.front(), result_with_mean(2.0));
  EXPECT_EQ(driver_.held_by(kFirst).size(), 2U) << "it gets new work";
}

TEST_F(SchedulerTest, WorkersOfAnEarlierProcessAreAwayUntilTheySpeak) {
  (void)driver_.join(kFirst);
  (void)driver_.join(kSecond);
  const Sender left{"worker-4", "incarnation-4"};
  (void)driver_.join(left);
  (void)driver_.say(left, Leaving{left});
  driver_.restart();
  (void)driver_.pass(milliseconds(0));
  for (const char* id : {"worker-1", "worker-2"}) {
    EXPECT_EQ(driver_.rows.workers.at(id).state, WorkerState::kLost) << id;
    EXPECT_FALSE(driver_.rows.workers.at(id).detail.empty()) << id;
  }
  EXPECT_EQ(driver_.rows.workers.at("worker-4").state, WorkerState::kLeft);
  (void)driver_.hello(kSecond);
  EXPECT_EQ(driver_.rows.workers.at("worker-2").state, WorkerState::kConnected);
  EXPECT_EQ(driver_.rows.workers.at("worker-1").state, WorkerState::kLost);
}

TEST_F(SchedulerTest, RestoredLeaseOfADeadWorkerExpires) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  driver_.restart();
  for (int i = 0; i < 4; ++i) (void)driver_.pass(seconds(3));
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
}

TEST_F(SchedulerTest, RestoredLeaseThatTheWorkerNeverGotIsReleased) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  driver_.restart();
  (void)driver_.hello(kFirst, {});
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
}

TEST_F(SchedulerTest, SnapshotThatDoesNotReplayIsRefused) {
  (void)driver_.join(kFirst);
  driver_.rows.candidates.at(2).factors_digest = "tampered";
  EXPECT_THROW(
      {
        driver_.restart();
        (void)driver_.pass(seconds(1));
      },
      Error);
}

TEST_F(SchedulerTest, RestartAfterEveryStepComesToTheSameHistory) {
  for (const SearchPlan& plan : {small_plan(), gradient_plan()}) {
    SchedulerDriver undisturbed(plan);
    (void)undisturbed.join(kFirst);
    (void)undisturbed.work_off({kFirst});
    ASSERT_TRUE(undisturbed.scheduler().finished());
    SchedulerDriver driver(plan);
    (void)driver.join(kFirst);
    while (!driver.held_by(kFirst).empty()) {
      const LeaseId lease = driver.held_by(kFirst).back();
      (void)driver.finish(kFirst, lease, driver.fitness(lease));
      driver.restart();
      (void)driver.hello(kFirst, driver.held_by(kFirst));
      (void)driver.ready(kFirst);
    }
    EXPECT_TRUE(driver.scheduler().finished());
    EXPECT_EQ(search_history(driver.rows.load()), search_history(undisturbed.rows.load()));
  }
}

// Bad results and failures. ---------------------------------------------------------------------------------------

std::vector<ScoreResult> impossible_results() {
  std::vector<ScoreResult> results(7, result_with_mean(2.0));
  results[0].nll_sum = std::numeric_limits<double>::quiet_NaN();
  results[1].nll_sum = std::numeric_limits<double>::infinity();
  results[2] = result_with_mean(-2.0);
  results[3].scored_tokens += 1;
  results[4].blocks.clear();
  results[5].blocks.front().nll_sum *= 2.0;
  results[6].seconds = -1.0;
  return results;
}

TEST_F(SchedulerTest, ImpossibleResultIsRejectedAndNeverStored) {
  for (const ScoreResult& impossible : impossible_results()) {
    SchedulerDriver driver;
    (void)driver.join(kFirst);
    const LeaseId lease = driver.held_by(kFirst).front();
    const Effects effects = driver.finish(kFirst, lease, impossible);
    EXPECT_EQ(outcome(effects), "rejected");
    EXPECT_FALSE(messages_of<Acknowledge>(effects).front().detail.empty());
    EXPECT_EQ(driver.lease_of(lease).end, LeaseEnd::kRejected);
    EXPECT_FALSE(driver.rows.evaluations.at(lease.evaluation).result);
    EXPECT_EQ(driver.rows.workers.at("worker-1").failures, 1);
  }
}

TEST_F(SchedulerTest, NumbersThatNoDatabaseColumnTakesAreRejected) {
  // The columns refuse 1e308 and more: such a row would block every later commit.
  ScoreResult slow = result_with_mean(2.0);
  slow.seconds = 1.5e308;
  for (const ScoreResult& huge : {slow, result_with_mean(1.5e306)}) {
    SchedulerDriver driver;
    (void)driver.join(kFirst);
    EXPECT_EQ(outcome(driver.finish(kFirst, driver.held_by(kFirst).front(), huge)), "rejected");
  }
}

TEST_F(SchedulerTest, WorkerIsRefusedAfterThreeRejectedResultsInARow) {
  (void)driver_.join(kFirst);
  const ScoreResult wrong = impossible_results().front();
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(messages_of<Refuse>(driver_.finish(kFirst, driver_.held_by(kFirst).front(), wrong)).empty());
  }
  (void)driver_.finish(kFirst, driver_.held_by(kFirst).front(), result_with_mean(2.0));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(messages_of<Refuse>(driver_.finish(kFirst, driver_.held_by(kFirst).front(), wrong)).empty());
  }
  const Effects third = driver_.finish(kFirst, driver_.held_by(kFirst).front(), wrong);
  EXPECT_EQ(messages_of<Refuse>(third, peer_of(kFirst)).size(), 1U);
  EXPECT_EQ(driver_.rows.workers.at("worker-1").state, WorkerState::kRefused);
  EXPECT_TRUE(driver_.held_by(kFirst).empty());
}

TEST_F(SchedulerTest, RejectedResultsNeverCountAgainstTheCandidate) {
  // A lone worker that lies again and again, started again each time it is refused.
  for (int process = 0; process < 5; ++process) {
    const Sender liar{"worker-1", "lying-" + std::to_string(process)};
    (void)driver_.join(liar);
    for (int i = 0; i < 3; ++i) {
      ASSERT_FALSE(driver_.held_by(liar).empty());
      (void)driver_.finish(liar, driver_.held_by(liar).front(), impossible_results().front());
    }
  }
  for (const auto& [id, evaluation] : driver_.rows.evaluations) {
    EXPECT_EQ(evaluation.state, EvaluationState::kPending) << id;
  }
}

TEST_F(SchedulerTest, CandidateIsQuarantinedAfterThreeFailuresOnTwoWorkersAndTheSearchGoesOn) {
  (void)driver_.join(kFirst);
  (void)driver_.join(kSecond);
  const std::int64_t bad = driver_.held_by(kFirst).front().evaluation;
  int failures = 0;
  std::set<std::string> workers;
  while (driver_.rows.evaluations.at(bad).state != EvaluationState::kFailed) {
    ASSERT_LT(failures, 10);
    for (const Sender& sender : {kFirst, kSecond}) {
      for (const LeaseId& lease : driver_.held_by(sender)) {
        if (driver_.lease_of(lease).end) continue;  // revoked meanwhile
        if (lease.evaluation == bad) {
          (void)driver_.fail(sender, lease, EvaluationError::kNonFinite);
          ++failures;
          workers.insert(sender.worker);
        } else {
          (void)driver_.finish(sender, lease, driver_.fitness(lease));
        }
      }
    }
  }
  EXPECT_GE(failures, 3);
  EXPECT_EQ(workers.size(), 2U);
  (void)driver_.work_off({kFirst, kSecond});
  EXPECT_TRUE(driver_.scheduler().finished());
  EXPECT_EQ(driver_.rows.candidates.at(1).state, CandidateState::kQuarantined);
  EXPECT_EQ(driver_.rows.candidates.at(2).state, CandidateState::kTold);
  EXPECT_NE(driver_.rows.stages.at(1).winner, 1);
}

TEST_F(SchedulerTest, LoneWorkerQuarantinesAfterThreeFailuresToo) {
  (void)driver_.join(kFirst);
  const std::int64_t bad = driver_.held_by(kFirst).front().evaluation;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(driver_.rows.evaluations.at(bad).state, EvaluationState::kLeased);
    (void)driver_.fail(kFirst, {bad, driver_.rows.evaluations.at(bad).epoch}, EvaluationError::kNonFinite);
  }
  EXPECT_EQ(driver_.rows.evaluations.at(bad).state, EvaluationState::kFailed);
  (void)driver_.work_off({kFirst});
  EXPECT_TRUE(driver_.scheduler().finished());
}

TEST_F(SchedulerTest, OutOfMemoryRefusesTheWorkerNotTheCandidate) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  const Effects effects = driver_.fail(kFirst, lease, EvaluationError::kOutOfMemory);
  EXPECT_EQ(messages_of<Refuse>(effects, peer_of(kFirst)).size(), 1U);
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
  EXPECT_EQ(driver_.rows.evaluations.at(lease.evaluation).failures, 0);
}

TEST_F(SchedulerTest, OutOfMemoryOfAWorkerNotYetGreetedReleasesTheLease) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  driver_.restart();
  (void)driver_.fail(kFirst, lease, EvaluationError::kOutOfMemory);
  EXPECT_EQ(driver_.state_of(lease), EvaluationState::kPending);
}

TEST_F(SchedulerTest, UnknownErrorCodeIsAFailureLikeAnother) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  // 2^32 + 2 would be kOutOfMemory if it were cut to 32 bits.
  for (const std::int64_t code : {std::int64_t{0}, std::int64_t{6}, (std::int64_t{1} << 32) + 2}) {
    const LeaseId current{lease.evaluation, driver_.rows.evaluations.at(lease.evaluation).epoch};
    const Effects effects = driver_.say(kFirst, Failure{kFirst, current, code, "because"});
    EXPECT_EQ(outcome(effects), "stored") << code;
    EXPECT_TRUE(messages_of<Refuse>(effects).empty()) << code;
  }
  EXPECT_EQ(driver_.rows.evaluations.at(lease.evaluation).failures, 3);
}

TEST_F(SchedulerTest, QuarantinedFinalistDoesNotPreventARestartWhileChoosing) {
  (void)driver_.join(kFirst);
  while (driver_.rows.stages.at(1).state != StageState::kChoosing) {
    const LeaseId lease = driver_.held_by(kFirst).front();
    (void)driver_.finish(kFirst, lease, driver_.fitness(lease));
  }
  // The first held-out document of the best candidate fails for good; its other one is cancelled.
  const std::int64_t bad = driver_.held_by(kFirst).front().evaluation;
  while (driver_.rows.evaluations.at(bad).state != EvaluationState::kFailed) {
    (void)driver_.fail(kFirst, {bad, driver_.rows.evaluations.at(bad).epoch}, EvaluationError::kNonFinite);
  }
  ASSERT_EQ(driver_.rows.stages.at(1).state, StageState::kChoosing);
  driver_.restart();
  (void)driver_.hello(kFirst, driver_.held_by(kFirst));
  (void)driver_.ready(kFirst);
  (void)driver_.work_off({kFirst});
  EXPECT_TRUE(driver_.scheduler().finished());
  EXPECT_TRUE(driver_.rows.stages.at(1).winner);
}

// Gradients. ------------------------------------------------------------------------------------------------------

class GradientSchedulerTest : public testing::Test {
 protected:
  /// Answers what kFirst holds until that is a gradient.
  LeaseId work_until_gradient() {
    while (!driver_.held_by(kFirst).empty()) {
      const LeaseId lease = driver_.held_by(kFirst).front();
      if (evaluation(lease).kind == EvaluationKind::kGradient) return lease;
      (void)driver_.finish(kFirst, lease, driver_.fitness(lease));
    }
    throw std::logic_error("the search asked for no gradient");
  }
  [[nodiscard]] const EvaluationRecord& evaluation(const LeaseId& lease) const {
    return driver_.rows.evaluations.at(lease.evaluation);
  }

  SchedulerDriver driver_{gradient_plan()};
};

TEST_F(GradientSchedulerTest, WorkSaysWhichKindItIs) {
  (void)driver_.hello(kFirst);
  std::vector<Work> given = messages_of<Work>(driver_.ready(kFirst));
  std::map<std::int64_t, std::int64_t> kinds;
  while (!driver_.held_by(kFirst).empty()) {
    for (const Work& work : given) kinds[work.lease.evaluation] = work.kind;
    const LeaseId lease = driver_.held_by(kFirst).front();
    given = messages_of<Work>(driver_.finish(kFirst, lease, driver_.fitness(lease)));
  }
  ASSERT_TRUE(driver_.scheduler().finished());
  std::int64_t gradients = 0;
  for (const auto& [id, row] : driver_.rows.evaluations) {
    EXPECT_EQ(kinds.at(id), static_cast<std::int64_t>(row.kind)) << id;
    if (row.kind == EvaluationKind::kGradient) ++gradients;
  }
  EXPECT_GE(gradients, 3);
}

TEST_F(GradientSchedulerTest, ResultWithoutItsGradientIsRejected) {
  (void)driver_.join(kFirst);
  const LeaseId lease = work_until_gradient();
  const ScoreResult right = driver_.fitness(lease);
  ASSERT_EQ(right.gradient.size(), 9U) << "eight pairs and m";
  ScoreResult without = right;
  without.gradient.clear();
  ScoreResult short_of_one = right;
  short_of_one.gradient.pop_back();
  for (const auto& [wrong, size] : {std::pair(without, "0"), std::pair(short_of_one, "8")}) {
    const LeaseId held{lease.evaluation, evaluation(lease).epoch};
    const Effects effects = driver_.finish(kFirst, held, wrong);
    EXPECT_EQ(outcome(effects), "rejected");
    EXPECT_EQ(messages_of<Acknowledge>(effects).front().detail, std::string("gradient must have 9 numbers: ") + size);
    EXPECT_EQ(driver_.lease_of(held).end, LeaseEnd::kRejected);
    EXPECT_FALSE(evaluation(held).result);
  }
  EXPECT_EQ(outcome(driver_.finish(kFirst, {lease.evaluation, evaluation(lease).epoch}, right)), "stored");
  EXPECT_EQ(evaluation(lease).result->gradient, right.gradient);
}

TEST_F(GradientSchedulerTest, ImpossibleGradientIsRejectedWithItsPlace) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity(), 1e16}) {
    driver_ = SchedulerDriver(gradient_plan());
    (void)driver_.join(kFirst);
    const LeaseId lease = work_until_gradient();
    ScoreResult wrong = driver_.fitness(lease);
    wrong.gradient[8] = bad;
    const Effects effects = driver_.finish(kFirst, lease, wrong);
    EXPECT_EQ(outcome(effects), "rejected");
    EXPECT_THAT(messages_of<Acknowledge>(effects).front().detail, testing::HasSubstr("number 8 is "));
  }
}

TEST_F(GradientSchedulerTest, ScoreWithAGradientIsRejected) {
  (void)driver_.join(kFirst);
  const LeaseId lease = driver_.held_by(kFirst).front();
  ASSERT_EQ(evaluation(lease).kind, EvaluationKind::kScore);
  ScoreResult wrong = driver_.fitness(lease);
  wrong.gradient.assign(9, 0.5);
  EXPECT_EQ(outcome(driver_.finish(kFirst, lease, wrong)), "rejected");
}

TEST_F(GradientSchedulerTest, LateGradientIsComparedWithTheStoredOne) {
  (void)driver_.join(kFirst);
  const LeaseId stale = work_until_gradient();
  const ScoreResult right = driver_.fitness(stale);
  (void)driver_.step(PeerUnreachable{peer_of(kFirst)});
  (void)driver_.join(kSecond);
  (void)driver_.finish(kSecond, {stale.evaluation, stale.epoch + 1}, right);
  EXPECT_EQ(outcome(driver_.finish(kFirst, stale, right)), "late");
  EXPECT_EQ(driver_.rows.late_results.begin()->second.same_as_stored, true);
  ScoreResult other = right;
  other.gradient.front() = std::nextafter(other.gradient.front(), 1.0);
  EXPECT_EQ(outcome(driver_.finish(kFirst, stale, other)), "late");
  EXPECT_EQ(driver_.rows.late_results.begin()->second.same_as_stored, false);
}

TEST_F(GradientSchedulerTest, DocumentPassesAreThoseOfItsScoresAndGradients) {
  (void)driver_.join(kFirst);
  (void)driver_.work_off({kFirst});
  ASSERT_TRUE(driver_.scheduler().finished());
  const PlannedStage& stage = driver_.plan().stages.front();
  double passes = 0.0;
  for (const auto& [id, row] : driver_.rows.evaluations) {
    EXPECT_EQ(row.cost_passes, row.kind == EvaluationKind::kGradient ? kGradientPasses : 1.0) << id;
    const bool is_searched =
        std::ranges::find(stage.search, row.document_digest, &PlannedDocument::digest) != stage.search.end();
    if (is_searched) passes += row.cost_passes;
  }
  EXPECT_LE(passes, stage.passes);
  EXPECT_GT(passes, stage.passes / 2.0) << "or the plan of the search wastes them";
}

TEST_F(GradientSchedulerTest, WorkerOnAGpuIsRefusedWhenAStageAsksForGradients) {
  SearchPlan second_stage = small_plan(/*generational=*/true, /*stages=*/2);
  second_stage.stages.back() = gradient_plan(2).stages.back();
  for (const SearchPlan& plan : {gradient_plan(), second_stage}) {
    SchedulerDriver driver(plan);
    (void)driver.hello(kFirst);
    const Effects effects =
        driver.say(kFirst, Ready{kFirst, plan.model_digest, "Torch 2.13.0, cuda:0 (own kernels)", 1});
    ASSERT_EQ(messages_of<Refuse>(effects, peer_of(kFirst)).size(), 1U);
    EXPECT_THAT(messages_of<Refuse>(effects).front().reason,
                testing::HasSubstr("gradients must be computed on CPUs: this worker computes on Torch 2.13.0, cuda:0"));
    EXPECT_EQ(driver.rows.workers.at("worker-1").state, WorkerState::kRefused);
    EXPECT_TRUE(driver.held_by(kFirst).empty());
    (void)driver.join(kSecond);
    EXPECT_FALSE(driver.held_by(kSecond).empty()) << "on a CPU";
  }
  SchedulerDriver scores(small_plan());
  (void)scores.hello(kFirst);
  (void)scores.say(kFirst, Ready{kFirst, small_plan().model_digest, "Torch 2.13.0, cuda:0 (own kernels)", 1});
  EXPECT_FALSE(scores.held_by(kFirst).empty()) << "nobody asks it for gradients";
}

// Stages. ---------------------------------------------------------------------------------------------------------

TEST_F(SchedulerTest, WinnerIsTheFinalistWithTheLowestHeldOutMeanAndBaselinesAreScored) {
  (void)driver_.join(kFirst);
  (void)driver_.work_off({kFirst});
  ASSERT_TRUE(driver_.scheduler().finished());
  const StageRecord& stage = driver_.rows.stages.at(1);
  EXPECT_EQ(stage.end, StageEnd::kBudget);
  int finalists = 0;
  int baselines = 0;
  for (const auto& [id, candidate] : driver_.rows.candidates) {
    if (candidate.role == CandidateRole::kBaseline) {
      ++baselines;
      EXPECT_TRUE(candidate.heldout_mean_nll) << candidate.origin;
    } else if (candidate.heldout_mean_nll) {
      ++finalists;
      EXPECT_GE(*candidate.heldout_mean_nll, *driver_.rows.candidates.at(*stage.winner).heldout_mean_nll);
    }
  }
  EXPECT_EQ(finalists, 3);
  EXPECT_EQ(baselines, 5) << "none, PI, NTK, YaRN, and YaRN with m = 1";
}

/// The evaluations of `rows` at a length, as "origin document", in alphabetical order.
std::vector<std::string> evaluated_at(const RowStore& rows, std::int64_t length, const std::string& kind) {
  std::vector<std::string> found;
  for (const auto& [id, evaluation] : rows.evaluations) {
    const std::string name = fixture_documents(1).at(evaluation.document_digest).name;
    if (evaluation.length != length || name.find(kind) == std::string::npos) continue;
    for (const auto& [key, candidate] : rows.candidates) {
      if (candidate.factors_digest != evaluation.factors_digest) continue;
      const bool is_winner = rows.stages.at(1).winner == candidate.id;
      found.push_back((is_winner ? "winner" : candidate.origin) + " " + name.substr(name.size() - 1));
      break;
    }
  }
  std::ranges::sort(found);
  return found;
}

TEST(JudgedSchedulerTest, FinalDocumentsAreScoredForTheWinnerAndTheBaselinesAlone) {
  SchedulerDriver driver(with_final_documents(small_plan()));
  (void)driver.join(kFirst);
  (void)driver.work_off({kFirst});
  ASSERT_TRUE(driver.scheduler().finished());
  EXPECT_THAT(evaluated_at(driver.rows, kFixtureTargetLength, "final"),
              ElementsAre("none 0", "none 1", "ntk 0", "ntk 1", "pi 0", "pi 1", "winner 0", "winner 1", "yarn 0",
                          "yarn 1", "yarn-m1 0", "yarn-m1 1"));
  const CandidateRecord& winner = driver.rows.candidates.at(*driver.rows.stages.at(1).winner);
  double sum = 0.0;
  for (const PlannedDocument& document : driver.plan().stages.front().final_documents) {
    sum += synthetic_mean_nll(winner.factors.lambda, document.digest);
  }
  EXPECT_DOUBLE_EQ(winner.final_mean_nll.value(), sum / 2.0);
  SchedulerDriver without(small_plan());
  (void)without.join(kFirst);
  (void)without.work_off({kFirst});
  EXPECT_EQ(without.rows.stages.at(1).winner, driver.rows.stages.at(1).winner) << "they choose nothing";
}

TEST(JudgedSchedulerTest, FinalDocumentsWaitForTheWinnerAndARestartGoesOnWithThem) {
  SchedulerDriver driver(with_final_documents(within_reach(small_plan())));
  (void)driver.join(kFirst);
  while (!driver.rows.stages.at(1).winner) {
    EXPECT_TRUE(evaluated_at(driver.rows, kFixtureTargetLength, "final").empty());
    const LeaseId lease = driver.held_by(kFirst).front();
    (void)driver.finish(kFirst, lease, driver.fitness(lease));
  }
  const SearchProgress chosen = driver.scheduler().progress();
  EXPECT_EQ(chosen.stage_state, StageState::kChoosing);
  EXPECT_EQ(chosen.judging_evaluations, (3 + 5) * 2 + (1 + 5) * 2);
  EXPECT_EQ(chosen.judging_left, (1 + 5) * 2);
  for (int restart = 0; restart < 16 && !driver.scheduler().finished(); ++restart) {
    driver.restart();
    (void)driver.hello(kFirst, driver.held_by(kFirst));
    (void)driver.ready(kFirst);
    if (driver.scheduler().finished()) break;
    ASSERT_FALSE(driver.held_by(kFirst).empty());
    const LeaseId lease = driver.held_by(kFirst).front();
    (void)driver.finish(kFirst, lease, driver.fitness(lease));
  }
  EXPECT_TRUE(driver.scheduler().finished());
  EXPECT_EQ(driver.scheduler().progress().judging_left, 0);
  SchedulerDriver undisturbed(with_final_documents(within_reach(small_plan())));
  (void)undisturbed.join(kFirst);
  (void)undisturbed.work_off({kFirst});
  EXPECT_EQ(search_history(driver.rows.load()), search_history(undisturbed.rows.load()));
}

TEST(JudgedSchedulerTest, WhatTheWinnersAttentionFactorCostsIsScoredWhereTheCheckpointReaches) {
  SchedulerDriver driver(within_reach(small_plan()));
  (void)driver.join(kFirst);
  (void)driver.work_off({kFirst});
  const StageRecord& stage = driver.rows.stages.at(1);
  EXPECT_EQ(stage.original_length, 512);
  EXPECT_THAT(evaluated_at(driver.rows, 512, "heldout"),
              ElementsAre("none 0", "none 1", "none-winner-m 0", "none-winner-m 1"));
  for (const auto& [id, candidate] : driver.rows.candidates) {
    if (candidate.origin != "none-winner-m") continue;
    EXPECT_EQ(candidate.factors.lambda, std::vector<double>(8, 1.0));
    EXPECT_EQ(candidate.factors.attention, driver.rows.candidates.at(*stage.winner).factors.attention);
    EXPECT_EQ(candidate.state, CandidateState::kTold);
    EXPECT_FALSE(candidate.heldout_mean_nll) << "it is no method for the target length";
  }
  SchedulerDriver with_final(with_final_documents(within_reach(small_plan())));
  (void)with_final.join(kFirst);
  (void)with_final.work_off({kFirst});
  EXPECT_EQ(evaluated_at(with_final.rows, 512, "final").size(), 4U);
  EXPECT_TRUE(evaluated_at(with_final.rows, 512, "heldout").empty());
}

TEST(JudgedSchedulerTest, NothingIsScoredWithinReachWhereItCostsNothingOrNothingCounts) {
  SearchPlan same_factor = within_reach(small_plan());
  same_factor.stages.front().space.attention_policies = {AttentionPolicy::kNone};
  SearchPlan masked = within_reach(small_plan());
  masked.stages.front().heldout.back().scored_within_reach = 0;
  SearchPlan recovery = within_reach(small_plan());
  recovery.stages.front().carried.reached_length = kFixtureTargetLength;
  for (const SearchPlan& plan : {same_factor, masked, recovery}) {
    SchedulerDriver driver(plan);
    (void)driver.join(kFirst);
    (void)driver.work_off({kFirst});
    ASSERT_TRUE(driver.scheduler().finished());
    EXPECT_EQ(driver.rows.stages.at(1).original_length, 0);
    for (const auto& [id, evaluation] : driver.rows.evaluations) EXPECT_EQ(evaluation.length, kFixtureTargetLength);
  }
}

TEST(JudgedSchedulerTest, StageThatWasChoosingBeforeThereWereMoreBaselinesGoesOnWithThoseItHas) {
  SchedulerDriver driver(small_plan());
  (void)driver.join(kFirst);
  while (driver.rows.stages.at(1).state != StageState::kChoosing) {
    const LeaseId lease = driver.held_by(kFirst).front();
    (void)driver.finish(kFirst, lease, driver.fitness(lease));
  }
  std::erase_if(driver.rows.candidates, [](const auto& entry) { return entry.second.origin == "yarn-m1"; });
  for (std::size_t document = 0; document < kFixtureHeldoutDocuments; ++document) {
    driver.rows.evaluations.erase(std::prev(driver.rows.evaluations.end()));
  }
  driver.restart();
  (void)driver.hello(kFirst, driver.held_by(kFirst));
  (void)driver.ready(kFirst);
  (void)driver.work_off({kFirst});
  EXPECT_TRUE(driver.scheduler().finished());
  EXPECT_TRUE(driver.rows.stages.at(1).winner);
}

TEST(JudgedSchedulerTest, WinnerThatAFinalDocumentRefusesStaysTheWinner) {
  SchedulerDriver driver(with_final_documents(small_plan()));
  (void)driver.join(kFirst);
  while (!driver.rows.stages.at(1).winner) {
    const LeaseId lease = driver.held_by(kFirst).front();
    (void)driver.finish(kFirst, lease, driver.fitness(lease));
  }
  const std::int64_t bad = driver.held_by(kFirst).front().evaluation;
  while (driver.rows.evaluations.at(bad).state != EvaluationState::kFailed) {
    (void)driver.fail(kFirst, {bad, driver.rows.evaluations.at(bad).epoch}, EvaluationError::kNonFinite);
  }
  driver.restart();
  (void)driver.hello(kFirst, driver.held_by(kFirst));
  (void)driver.ready(kFirst);
  (void)driver.work_off({kFirst});
  ASSERT_TRUE(driver.scheduler().finished());
  EXPECT_FALSE(driver.rows.candidates.at(*driver.rows.stages.at(1).winner).final_mean_nll);
  EXPECT_EQ(driver.rows.candidates.at(*driver.rows.stages.at(1).winner).state, CandidateState::kTold);
}

TEST(ScaledSchedulerTest, BaselinesExtendWhatTheCheckpointCarries) {
  SearchPlan plan = small_plan();
  const RescaleFactors own = exact_factors({1.0, 1.0, 1.1, 1.3, 1.6, 1.9, 2.0, 2.0}, 0, {AttentionPolicy::kYarn, 1.07});
  // Also of a recovery, whose candidates replace what is carried.
  plan.stages.front().carried = {.type = "yarn", .up_to_original = own, .beyond_original = own, .reached_length = 1024};
  SchedulerDriver driver(plan);
  (void)driver.join(kFirst);
  (void)driver.work_off({kFirst});
  std::map<std::string, RescaleFactors> baselines;
  for (const auto& [id, candidate] : driver.rows.candidates) {
    if (candidate.role == CandidateRole::kBaseline) baselines[candidate.origin] = candidate.factors;
  }
  std::erase_if(baselines, [](const auto& entry) { return entry.first.find('-') != std::string::npos; });
  ASSERT_EQ(baselines.size(), 4U);
  EXPECT_EQ(baselines.at("none"), own);
  for (std::size_t pair = 0; pair < own.lambda.size(); ++pair) {
    EXPECT_EQ(baselines.at("pi").lambda[pair], 2.0 * own.lambda[pair]);
  }
  EXPECT_EQ(baselines.at("ntk").lambda.back(), 4.0);
  EXPECT_NEAR(baselines.at("yarn").attention.value, 1.07 * (1.0 + 0.1 * std::log(2.0)), 1e-15);
}

TEST_F(SchedulerTest, TiesOnHeldOutDocumentsGoToTheLowestIndex) {
  (void)driver_.join(kFirst);
  while (!driver_.scheduler().finished()) {
    const LeaseId lease = driver_.held_by(kFirst).front();
    const std::string& document = driver_.rows.evaluations.at(lease.evaluation).document_digest;
    const bool heldout = fixture_documents(1).at(document).name.find("heldout") != std::string::npos;
    // On the search documents later candidates are better, so the finalists are ranked against their index.
    const double searched = 3.0 - 0.01 * static_cast<double>(lease.evaluation);
    (void)driver_.finish(kFirst, lease, result_with_mean(heldout ? 2.0 : searched));
  }
  std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
  for (const auto& [id, candidate] : driver_.rows.candidates) {
    if (candidate.role == CandidateRole::kSearch && candidate.heldout_mean_nll) {
      lowest = std::min(lowest, candidate.index);
    }
  }
  EXPECT_EQ(driver_.rows.candidates.at(*driver_.rows.stages.at(1).winner).index, lowest);
}

TEST_F(SchedulerTest, MeanIsWeightedByTokensOverAllSearchDocuments) {
  (void)driver_.join(kFirst);
  (void)driver_.work_off({kFirst});
  for (const auto& [id, candidate] : driver_.rows.candidates) {
    if (candidate.state != CandidateState::kTold || candidate.role != CandidateRole::kSearch) continue;
    double sum = 0.0;
    for (const PlannedDocument& document : driver_.plan().stages.front().search) {
      sum += result_with_mean(synthetic_mean_nll(candidate.factors.lambda, document.digest)).nll_sum;
    }
    EXPECT_DOUBLE_EQ(*candidate.search_mean_nll, sum / 300.0) << candidate.index;
  }
}

TEST_F(SchedulerTest, ConvergedStageRevokesWhatNobodyNeedsAndThoseCandidatesNeverCount) {
  SearchPlan plan = small_plan(/*generational=*/false);
  plan.stages.front().config.stop.patience = 1;
  SchedulerDriver driver(plan);
  for (const Sender& sender : {kFirst, kSecond}) (void)driver.join(sender);
  // Candidate 0 is told, then candidate 1, which is no better; kSecond works at candidate 1 and 2 meanwhile.
  std::vector<Revoke> revoked;
  while (driver.rows.stages.at(1).state == StageState::kSearching) {
    const std::int64_t evaluation = driver.held_by(kFirst).empty() ? driver.held_by(kSecond).front().evaluation
                                                                   : driver.held_by(kFirst).front().evaluation;
    const Sender& sender = driver.held_by(kFirst).empty() ? kSecond : kFirst;
    const LeaseId lease{evaluation, driver.rows.evaluations.at(evaluation).epoch};
    // kFirst works through the candidates in order; kSecond keeps its two documents until nothing else is left.
    const auto messages = messages_of<Revoke>(driver.finish(sender, lease, result_with_mean(2.0)));
    revoked.insert(revoked.end(), messages.begin(), messages.end());
  }
  const StageRecord& stage = driver.rows.stages.at(1);
  EXPECT_EQ(stage.end, StageEnd::kConverged);
  int cancelled = 0;
  for (const auto& [id, candidate] : driver.rows.candidates) {
    if (candidate.state == CandidateState::kCancelled) ++cancelled;
  }
  EXPECT_GT(cancelled, 0);
  for (const Revoke& revoke : revoked) {
    EXPECT_EQ(driver.state_of(revoke.lease), EvaluationState::kCancelled);
    EXPECT_EQ(driver.lease_of(revoke.lease).end, LeaseEnd::kReleased);
  }
  (void)driver.work_off({kFirst, kSecond});
  EXPECT_TRUE(driver.scheduler().finished());
}

TEST_F(SchedulerTest, TimeLimitEndsTheSearchAndCountsOverRestarts) {
  SearchPlan plan = small_plan();
  plan.stages.front().config.stop.time_limit = seconds(100);
  SchedulerDriver driver(plan);
  (void)driver.join(kFirst);
  const auto score_a_candidate = [&] {
    for (int i = 0; i < 3; ++i) {
      const LeaseId lease = driver.held_by(kFirst).front();
      (void)driver.finish(kFirst, lease, driver.fitness(lease));
    }
  };
  for (int i = 0; i < 12; ++i) {
    (void)driver.pass(seconds(5));
    (void)driver.beat(kFirst, i);
  }
  score_a_candidate();
  EXPECT_EQ(driver.rows.stages.at(1).active_milliseconds, 60000);
  driver.restart();
  (void)driver.hello(kFirst, driver.held_by(kFirst));
  (void)driver.ready(kFirst);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(driver.rows.stages.at(1).state, StageState::kSearching);
    (void)driver.pass(seconds(5));
    (void)driver.beat(kFirst, i);
  }
  EXPECT_EQ(driver.rows.stages.at(1).state, StageState::kChoosing);
  EXPECT_EQ(driver.rows.stages.at(1).end, StageEnd::kTimeLimit);
  (void)driver.work_off({kFirst});
  EXPECT_TRUE(driver.scheduler().finished());
  EXPECT_EQ(driver.rows.candidates.at(*driver.rows.stages.at(1).winner).index, 0) << "the only one told";
}

TEST_F(SchedulerTest, TimeLimitThatHasPassedAtARestartKeepsWhatWasTold) {
  (void)driver_.join(kFirst);
  for (int i = 0; i < 10; ++i) {
    (void)driver_.pass(seconds(1));
    const LeaseId lease = driver_.held_by(kFirst).front();
    (void)driver_.finish(kFirst, lease, driver_.fitness(lease));
  }
  // A time limit is no part of a search's identity: whoever has waited long enough may set one.
  SearchPlan plan = driver_.plan();
  plan.stages.front().config.stop.time_limit = seconds(5);
  driver_.change_plan(plan);
  driver_.restart();
  (void)driver_.pass(milliseconds(0));
  EXPECT_EQ(driver_.rows.stages.at(1).state, StageState::kChoosing);
  EXPECT_EQ(driver_.rows.stages.at(1).end, StageEnd::kTimeLimit);
  EXPECT_NE(driver_.rows.stages.at(1).end_detail.find("3 told"), std::string::npos)
      << driver_.rows.stages.at(1).end_detail;
  for (const auto& [id, candidate] : driver_.rows.candidates) {
    if (candidate.role == CandidateRole::kSearch) {
      EXPECT_NE(candidate.state, CandidateState::kOpen) << id;
    }
  }
}

TEST_F(SchedulerTest, SecondStageFollowsTheFirstAndTheFinishedSearchDismissesWorkers) {
  SchedulerDriver driver(small_plan(/*generational=*/true, /*stages=*/2));
  (void)driver.join(kFirst);
  bool dismissed = false;
  while (!driver.scheduler().finished()) {
    EXPECT_FALSE(dismissed);
    const bool second_started = driver.rows.stages.contains(2);
    EXPECT_EQ(second_started, driver.rows.stages.at(1).state == StageState::kFinished);
    const LeaseId lease = driver.held_by(kFirst).front();
    dismissed = messages_of<Dismiss>(driver.finish(kFirst, lease, driver.fitness(lease))).size() == 1;
  }
  EXPECT_TRUE(dismissed);
  EXPECT_EQ(driver.rows.stages.at(2).state, StageState::kFinished);
  EXPECT_EQ(messages_of<Dismiss>(driver.hello(kSecond)).size(), 1U) << "a latecomer";
  driver.restart();
  EXPECT_TRUE(driver.scheduler().finished());
  EXPECT_EQ(messages_of<Dismiss>(driver.hello(kSecond)).size(), 1U) << "after a restart too";
}

TEST_F(SchedulerTest, FinishedSearchDismissesWhoeverIsStillThere) {
  (void)driver_.join(kFirst);
  (void)driver_.work_off({kFirst});
  ASSERT_TRUE(driver_.scheduler().finished());
  EXPECT_EQ(messages_of<Dismiss>(driver_.beat(kFirst, 1), peer_of(kFirst)).size(), 1U) << "the first one was lost";
}

TEST_F(SchedulerTest, FinishedSearchHasNobodyConnected) {
  (void)driver_.join(kFirst);
  (void)driver_.join(kSecond);
  (void)driver_.work_off({kFirst, kSecond});
  ASSERT_TRUE(driver_.scheduler().finished());
  for (const auto& [id, worker] : driver_.rows.workers) EXPECT_EQ(worker.state, WorkerState::kLeft) << id;
}

TEST_F(SchedulerTest, ProgressSaysWhatTheRowsSay) {
  (void)driver_.join(kFirst);
  for (int i = 0; i < 4; ++i) {
    const LeaseId lease = driver_.held_by(kFirst).front();
    (void)driver_.finish(kFirst, lease, driver_.fitness(lease));
  }
  const SearchProgress progress = driver_.scheduler().progress();
  EXPECT_EQ(progress.stage, "stage-1");
  EXPECT_EQ(progress.told, 1U);
  EXPECT_EQ(progress.budget, 18U);
  EXPECT_EQ(progress.best_candidate, 0U);
  EXPECT_EQ(progress.best_mean_nll, driver_.rows.candidates.at(1).search_mean_nll);
  EXPECT_EQ(progress.workers_ready, 1U);
  EXPECT_EQ(progress.evaluations_scored, 4);
  EXPECT_EQ(progress.workers_connected, 1U);
  EXPECT_EQ(progress.search_left, 18 * 3 - 4) << "the document of an open candidate is done";
}

TEST_F(SchedulerTest, WorkerThatLoadsTheModelIsConnectedAndNotReady) {
  EXPECT_EQ(driver_.scheduler().progress().workers_connected, 0U);
  (void)driver_.hello(kFirst);
  EXPECT_EQ(driver_.scheduler().progress().workers_connected, 1U);
  EXPECT_EQ(driver_.scheduler().progress().workers_ready, 0U);
}

TEST_F(SchedulerTest, EvaluationsLeftCountTheHeldOutDocumentsFromTheBeginning) {
  (void)driver_.join(kFirst);
  const SearchProgress begun = driver_.scheduler().progress();
  EXPECT_GT(begun.judging_evaluations, 0);
  const std::int64_t all = begun.search_left + begun.judging_left;
  bool chose = false;
  while (!driver_.scheduler().finished() && driver_.scheduler().progress().stage == begun.stage) {
    const SearchProgress progress = driver_.scheduler().progress();
    EXPECT_EQ(progress.evaluations_scored + progress.search_left + progress.judging_left, all);
    EXPECT_EQ(progress.judging_evaluations, begun.judging_evaluations);
    chose = chose || progress.stage_state == StageState::kChoosing;
    const LeaseId lease = driver_.held_by(kFirst).front();
    (void)driver_.finish(kFirst, lease, driver_.fitness(lease));
  }
  EXPECT_TRUE(chose);
}

}  // namespace
}  // namespace longrope

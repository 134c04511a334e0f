#include "coordinator/core/evaluation_table.h"

#include "common/error.h"
#include "tests/support/search_fixture.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <string>

namespace longrope {
namespace {

const Sender kFirst{"worker-1", "incarnation-1"};
const Sender kSecond{"worker-2", "incarnation-2"};
const std::set<std::string> kBoth = {"worker-1", "worker-2"};
const Now kNow{std::chrono::milliseconds(5), 1'700'000'000'005};

EvaluationRecord wanted(const std::string& hash) {
  EvaluationRecord evaluation;
  evaluation.hash = hash;
  return evaluation;
}

class EvaluationTableTest : public testing::Test {
 protected:
  std::int64_t need(const std::string& hash) { return table_.need(wanted(hash), effects_); }
  LeaseId grant(const Sender& sender) { return table_.grant(sender, kBoth, kNow, effects_).value(); }
  EvaluationState state(std::int64_t id) { return table_.at(id).state; }

  EvaluationTable table_;
  Effects effects_;
};

TEST_F(EvaluationTableTest, TheSameHashIsOneEvaluation) {
  EXPECT_EQ(need("a"), 1);
  EXPECT_EQ(need("b"), 2);
  EXPECT_EQ(need("a"), 1);
  EXPECT_EQ(table_.size(), 2);
  EXPECT_EQ(effects_.writes.size(), 2U);
}

TEST_F(EvaluationTableTest, OldestPendingEvaluationIsLeasedFirstUnderANewEpoch) {
  need("a");
  need("b");
  EXPECT_EQ(grant(kFirst), (LeaseId{1, 1}));
  EXPECT_EQ(grant(kSecond), (LeaseId{2, 1}));
  EXPECT_EQ(table_.grant(kFirst, kBoth, kNow, effects_), std::nullopt);
  table_.release({1, 1}, LeaseEnd::kExpired, "", kNow, effects_);
  EXPECT_EQ(grant(kSecond), (LeaseId{1, 2}));
}

TEST_F(EvaluationTableTest, OnlyTheSenderAndEpochOfTheLeaseHoldIt) {
  need("a");
  const LeaseId lease = grant(kFirst);
  EXPECT_TRUE(table_.holds(kFirst, lease));
  EXPECT_FALSE(table_.holds(kSecond, lease));
  EXPECT_FALSE(table_.holds({"worker-1", "incarnation-9"}, lease));
  EXPECT_FALSE(table_.holds(kFirst, {1, 2}));
  EXPECT_FALSE(table_.holds(kFirst, {2, 1}));
  EXPECT_EQ(table_.leases_held(kFirst), 1U);
  EXPECT_EQ(table_.leases_held({"worker-1", "incarnation-9"}), 0U);
}

TEST_F(EvaluationTableTest, LeasesAreOldByTheMonotonicClock) {
  need("a");
  need("b");
  (void)table_.grant(kFirst, kBoth, {std::chrono::milliseconds(5), 9'000'000'000'000}, effects_);
  (void)table_.grant(kFirst, kBoth, {std::chrono::milliseconds(6), 1}, effects_);
  const auto old = table_.leases_granted_before(kFirst, std::chrono::milliseconds(6));
  ASSERT_EQ(old.size(), 1U);
  EXPECT_EQ(old.front().evaluation, 1);
}

TEST_F(EvaluationTableTest, EndOfALeaseIsWrittenWithItsReason) {
  need("a");
  const LeaseId lease = grant(kFirst);
  effects_.writes.clear();
  table_.score(lease, result_with_mean(2.0), kNow, effects_);
  ASSERT_EQ(effects_.writes.size(), 2U);
  EXPECT_EQ(std::get<LeaseRecord>(effects_.writes.front()).end, LeaseEnd::kScored);
  const auto& evaluation = std::get<EvaluationRecord>(effects_.writes.back());
  EXPECT_EQ(evaluation.state, EvaluationState::kScored);
  EXPECT_EQ(evaluation.scored_at, kNow.unix_milliseconds);
  EXPECT_TRUE(table_.open_leases().empty());
}

TEST_F(EvaluationTableTest, LeaseEndsOnce) {
  need("a");
  const LeaseId lease = grant(kFirst);
  table_.score(lease, result_with_mean(2.0), kNow, effects_);
  EXPECT_THROW(table_.score(lease, result_with_mean(2.0), kNow, effects_), std::logic_error);
  EXPECT_THROW(table_.release(lease, LeaseEnd::kReleased, "", kNow, effects_), std::logic_error);
}

TEST_F(EvaluationTableTest, FailedEvaluationGoesToAWorkerThatDidNotFailAtIt) {
  need("a");
  table_.fail(grant(kFirst), LeaseEnd::kFailed, "because", kNow, effects_);
  EXPECT_EQ(table_.at(1).failures, 1);
  EXPECT_EQ(table_.at(1).error, "because");
  EXPECT_EQ(table_.grant(kFirst, kBoth, kNow, effects_), std::nullopt);
  table_.fail(grant(kSecond), LeaseEnd::kFailed, "because", kNow, effects_);
  EXPECT_EQ(table_.workers_that_failed(1), 2U);
  EXPECT_TRUE(table_.grant(kFirst, kBoth, kNow, effects_)) << "everybody failed: anybody may try again";
}

TEST_F(EvaluationTableTest, LoneWorkerGetsAgainWhatItFailedAt) {
  need("a");
  table_.fail(grant(kFirst), LeaseEnd::kFailed, "because", kNow, effects_);
  EXPECT_TRUE(table_.grant(kFirst, {"worker-1"}, kNow, effects_));
}

TEST_F(EvaluationTableTest, CancelledLeaseIsRevokedAndCancelledWorkMayBeWantedAgain) {
  need("a");
  const LeaseId lease = grant(kFirst);
  const auto revoked = table_.cancel(1, kNow, effects_);
  ASSERT_TRUE(revoked);
  EXPECT_EQ(revoked->worker, "worker-1");
  EXPECT_EQ(revoked->epoch, lease.epoch);
  EXPECT_EQ(state(1), EvaluationState::kCancelled);
  EXPECT_FALSE(table_.has_pending());
  EXPECT_EQ(need("a"), 1);
  EXPECT_EQ(grant(kSecond), (LeaseId{1, 2})) << "the epoch goes on";
}

TEST_F(EvaluationTableTest, CancellingWhatIsScoredOrGivenUpChangesNothing) {
  need("a");
  need("b");
  table_.score(grant(kFirst), result_with_mean(2.0), kNow, effects_);
  table_.give_up(2, effects_);
  effects_.writes.clear();
  EXPECT_EQ(table_.cancel(1, kNow, effects_), std::nullopt);
  EXPECT_EQ(table_.cancel(2, kNow, effects_), std::nullopt);
  EXPECT_TRUE(effects_.writes.empty());
  EXPECT_EQ(state(1), EvaluationState::kScored);
  EXPECT_EQ(state(2), EvaluationState::kFailed);
}

TEST_F(EvaluationTableTest, OnlyPendingEvaluationsAreGivenUp) {
  need("a");
  (void)grant(kFirst);
  EXPECT_THROW(table_.give_up(1, effects_), std::logic_error);
}

TEST_F(EvaluationTableTest, RestoredTableGoesOnWhereItWas) {
  need("a");
  need("b");
  need("c");
  const LeaseId lease = grant(kFirst);
  table_.score(grant(kSecond), result_with_mean(2.0), kNow, effects_);
  EvaluationTable restored;
  restored.restore({table_.at(1), table_.at(2), table_.at(3)}, table_.open_leases(), kNow);
  EXPECT_TRUE(restored.holds(kFirst, lease));
  EXPECT_EQ(restored.grant(kSecond, kBoth, kNow, effects_), (LeaseId{3, 1}));
  EXPECT_EQ(restored.need(wanted("b"), effects_), 2);
  EXPECT_EQ(restored.at(2).state, EvaluationState::kScored);
}

TEST_F(EvaluationTableTest, RowsThatContradictEachOtherAreRefused) {
  EvaluationRecord second = wanted("a");
  second.id = 2;
  EXPECT_THROW(EvaluationTable().restore({second}, {}, kNow), Error);
  EvaluationRecord pending = wanted("a");
  pending.id = 1;
  LeaseRecord lease;
  lease.evaluation = 1;
  EXPECT_THROW(EvaluationTable().restore({pending}, {lease}, kNow), Error);
  lease.evaluation = 7;
  EXPECT_THROW(EvaluationTable().restore({pending}, {lease}, kNow), Error);
  EvaluationRecord leased = pending;
  leased.state = EvaluationState::kLeased;
  EXPECT_THROW(EvaluationTable().restore({leased}, {}, kNow), Error) << "nobody could ever end it";
}

TEST_F(EvaluationTableTest, UnknownIdsAreNotContained) {
  need("a");
  EXPECT_TRUE(table_.contains(1));
  EXPECT_FALSE(table_.contains(0));
  EXPECT_FALSE(table_.contains(2));
  EXPECT_FALSE(table_.contains(-1));
}

}  // namespace
}  // namespace longrope

#include "worker/worker_protocol.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace longrope {
namespace {

using std::chrono::milliseconds;

const Sender kSender{"worker-1", "incarnation-1"};
const Welcome kWelcome{"model", "model-digest", "fp32", "fp64", 1, 1000};

Now at(std::int64_t steady) { return {milliseconds(steady), 1'700'000'000'000 + steady}; }

Document some_document(std::int32_t first = 1) {
  Document document;
  document.name = "document";
  document.tokens = {first, 2, 3, 4};
  return document;
}

DocumentData delivery(const Document& document) { return {digest(document), document}; }

Work work(std::int64_t evaluation, const Document& document, std::int64_t epoch = 1) {
  return {{evaluation, epoch}, 0, {1.0, 2.0}, 0, 1.0, digest(document), 4};
}

Work gradient_work(std::int64_t evaluation, const Document& document) {
  Work gradient = work(evaluation, document);
  gradient.kind = static_cast<std::int64_t>(EvaluationKind::kGradient);
  return gradient;
}

ScoreResult some_result() { return {.nll_sum = 6.0, .scored_tokens = 3, .blocks = {{6.0, 3}}, .seconds = 0.1}; }

template <class M>
std::vector<M> sent(const WorkerActions& actions) {
  std::vector<M> found;
  for (const WorkerMessage& message : actions.send) {
    if (const auto* m = std::get_if<M>(&message)) found.push_back(*m);
  }
  return found;
}

class WorkerProtocolTest : public testing::Test {
 protected:
  /// Welcomed, model loaded.
  void make_ready() {
    ASSERT_TRUE(protocol_.receive(kWelcome, at(0)).load);
    ASSERT_EQ(sent<Ready>(protocol_.model_loaded("model-digest", "cpu", 1)).size(), 1U);
  }
  /// Ready and scoring evaluation `id`.
  void start(std::int64_t id) {
    (void)protocol_.receive(delivery(document_), at(0));
    ASSERT_TRUE(protocol_.receive(work(id, document_), at(0)).score);
  }

  WorkerProtocol protocol_{kSender, "host", /*threads=*/0};
  Document document_ = some_document();
};

TEST_F(WorkerProtocolTest, SaysHelloUntilWelcomedAndHeartbeatsFromThen) {
  for (int i = 0; i < 3; ++i) {
    const WorkerActions actions = protocol_.tick(0, at(500 * i));
    ASSERT_EQ(actions.send.size(), 1U);
    EXPECT_EQ(sent<Hello>(actions).at(0).sender, kSender);
  }
  const WorkerActions welcomed = protocol_.receive(kWelcome, at(1500));
  ASSERT_TRUE(welcomed.load);
  EXPECT_EQ(welcomed.load->session.model_digest, "model-digest");
  const WorkerActions beat = protocol_.tick(17, at(2000));
  EXPECT_TRUE(sent<Hello>(beat).empty());
  EXPECT_EQ(sent<Heartbeat>(beat).at(0).progress, 17);
  EXPECT_EQ(protocol_.tick_interval(), milliseconds(1000));
}

TEST_F(WorkerProtocolTest, CoordinatorThatDoesNotAnswerIsReportedAfterFiveSecondsAndThenOnceAMinute) {
  std::vector<std::int64_t> reported;
  for (std::int64_t time = 0; time <= 70'000; time += 500) {
    if (const auto silence = protocol_.tick(0, at(time)).unanswered) reported.push_back(silence->count());
  }
  EXPECT_EQ(reported, (std::vector<std::int64_t>{5000, 65'000}));
}

TEST_F(WorkerProtocolTest, CoordinatorThatFallsSilentIsReportedAndOneThatAnswersIsNot) {
  make_ready();
  for (std::int64_t time = 1000; time <= 100'000; time += 1000) {
    ASSERT_FALSE(protocol_.tick(0, at(time)).unanswered) << time;
    (void)protocol_.receive(Pong{}, at(time + 100));
  }
  std::vector<std::int64_t> reported;
  for (std::int64_t time = 101'000; time <= 110'000; time += 1000) {
    if (protocol_.tick(0, at(time)).unanswered) reported.push_back(time);
  }
  EXPECT_EQ(reported, (std::vector<std::int64_t>{107'000}));  // the pong of 100,100 answers the first of these ticks
}

TEST_F(WorkerProtocolTest, SecondWelcomeWithTheSameModelDoesNotLoadItAgain) {
  make_ready();
  const WorkerActions again = protocol_.receive(kWelcome, at(100));
  EXPECT_FALSE(again.load);
  EXPECT_EQ(sent<Ready>(again).size(), 1U);
}

TEST_F(WorkerProtocolTest, WelcomeDuringLoadingDoesNotLoadTwice) {
  ASSERT_TRUE(protocol_.receive(kWelcome, at(0)).load);
  const WorkerActions again = protocol_.receive(kWelcome, at(100));
  EXPECT_FALSE(again.load);
  EXPECT_TRUE(sent<Ready>(again).empty());
}

TEST_F(WorkerProtocolTest, WelcomeToAnotherModelLoadsIt) {
  make_ready();
  Welcome other = kWelcome;
  other.model_digest = "other";
  EXPECT_TRUE(protocol_.receive(other, at(100)).load);
}

TEST_F(WorkerProtocolTest, ModelThatCannotBeLoadedIsReportedAndEndsTheWorker) {
  (void)protocol_.receive(kWelcome, at(0));
  const WorkerActions actions = protocol_.model_failed("no such model");
  EXPECT_EQ(sent<Unable>(actions).at(0).reason, "no such model");
  ASSERT_TRUE(actions.exit);
  EXPECT_EQ(actions.exit->status, 2);
}

TEST_F(WorkerProtocolTest, RefusedWorkerExits2AndDismissedWorkerExits0) {
  const auto refused = protocol_.receive(Refuse{"other threads"}, at(0)).exit;
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 2);
  EXPECT_EQ(refused->reason, "other threads");
  const auto dismissed = protocol_.receive(Dismiss{"finished"}, at(0)).exit;
  ASSERT_TRUE(dismissed);
  EXPECT_EQ(dismissed->status, 0);
}

TEST_F(WorkerProtocolTest, MissingDocumentIsAskedForAndWorkStartsWhenItCame) {
  make_ready();
  const WorkerActions asked = protocol_.receive(work(1, document_), at(0));
  EXPECT_FALSE(asked.score);
  EXPECT_EQ(sent<NeedDocument>(asked).at(0).digest, digest(document_));
  const WorkerActions given = protocol_.receive(delivery(document_), at(10));
  ASSERT_TRUE(given.score);
  EXPECT_EQ(given.score->document->tokens, document_.tokens);
}

TEST_F(WorkerProtocolTest, LostDocumentIsAskedForAgain) {
  make_ready();
  (void)protocol_.receive(work(1, document_), at(0));
  EXPECT_TRUE(sent<NeedDocument>(protocol_.tick(0, at(4000))).empty());
  EXPECT_EQ(sent<NeedDocument>(protocol_.tick(0, at(5000))).size(), 1U);
}

TEST_F(WorkerProtocolTest, DocumentThatIsLongOnItsWayIsNotSentForAgainAndAgain) {
  make_ready();
  (void)protocol_.receive(work(1, document_), at(0));
  std::size_t asked = 0;
  for (int second = 1; second <= 600; ++second) {
    asked += sent<NeedDocument>(protocol_.tick(0, at(1000 * second))).size();
  }
  EXPECT_GE(asked, 3U);
  EXPECT_LE(asked, 8U) << "each answer is another copy in front of all that follows";
}

TEST_F(WorkerProtocolTest, DocumentThatTwoWorksNameIsAskedForOnce) {
  make_ready();
  EXPECT_EQ(sent<NeedDocument>(protocol_.receive(work(1, document_), at(0))).size(), 1U);
  EXPECT_TRUE(sent<NeedDocument>(protocol_.receive(work(2, document_), at(1))).empty());
  EXPECT_EQ(sent<NeedDocument>(protocol_.tick(0, at(6000))).size(), 1U);
}

TEST_F(WorkerProtocolTest, CoordinatorThatWasStartedAgainIsAskedForTheMissingDocument) {
  make_ready();
  (void)protocol_.receive(work(1, document_), at(0));
  for (int second = 1; second <= 100; ++second) (void)protocol_.tick(0, at(1000 * second));
  (void)protocol_.receive(Introduce{}, at(101'000));
  EXPECT_EQ(sent<NeedDocument>(protocol_.receive(kWelcome, at(101'000))).size(), 1U);
}

TEST_F(WorkerProtocolTest, DocumentWithAnotherDigestIsNotUsed) {
  make_ready();
  (void)protocol_.receive(work(1, document_), at(0));
  DocumentData forged = delivery(some_document(9));
  forged.digest = digest(document_);
  EXPECT_FALSE(protocol_.receive(forged, at(10)).score);
  EXPECT_TRUE(protocol_.receive(delivery(document_), at(20)).score);
}

TEST_F(WorkerProtocolTest, OneDocumentIsScoredAtATime) {
  make_ready();
  start(1);
  EXPECT_FALSE(protocol_.receive(work(2, document_), at(0)).score);
  const WorkerActions next = protocol_.scored(some_result());
  ASSERT_TRUE(next.score);
  EXPECT_EQ(next.score->work.lease.evaluation, 2);
}

TEST_F(WorkerProtocolTest, WorkThatArrivesTwiceIsDoneOnce) {
  make_ready();
  start(1);
  (void)protocol_.receive(work(1, document_), at(0));  // while it is scored
  EXPECT_FALSE(protocol_.scored(some_result()).score);
  EXPECT_FALSE(protocol_.receive(work(1, document_), at(10)).score);  // while its result is not acknowledged
  const auto held = sent<Heartbeat>(protocol_.tick(0, at(20))).at(0).held;
  EXPECT_EQ(held, (std::vector<LeaseId>{{1, 1}}));
}

TEST_F(WorkerProtocolTest, ResultIsKeptAndSentAgainUntilAcknowledged) {
  make_ready();
  start(1);
  const auto first = sent<Result>(protocol_.scored(some_result()));
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first.at(0).lease, (LeaseId{1, 1}));
  EXPECT_EQ(first.at(0).score.nll_sum, 6.0);
  EXPECT_EQ(sent<Result>(protocol_.tick(0, at(5000))).size(), 1U);
  EXPECT_EQ(sent<Heartbeat>(protocol_.tick(0, at(5500))).at(0).held.size(), 1U);
  (void)protocol_.receive(Acknowledge{{1, 1}, "stored", ""}, at(6000));
  const WorkerActions after = protocol_.tick(0, at(20000));
  EXPECT_TRUE(sent<Result>(after).empty());
  EXPECT_TRUE(sent<Heartbeat>(after).at(0).held.empty());
}

TEST_F(WorkerProtocolTest, AcknowledgementOfAnotherEpochForgetsNothing) {
  make_ready();
  start(1);
  (void)protocol_.scored(some_result());
  (void)protocol_.receive(Acknowledge{{1, 2}, "late", ""}, at(10));
  EXPECT_EQ(sent<Result>(protocol_.tick(0, at(5000))).size(), 1U);
}

TEST_F(WorkerProtocolTest, RestartedCoordinatorGetsHelloWithWhatIsHeldAndThenTheResult) {
  make_ready();
  start(1);
  (void)protocol_.scored(some_result());
  (void)protocol_.receive(work(2, document_), at(10));  // scored now
  (void)protocol_.receive(work(3, document_), at(10));  // waits
  const auto hello = sent<Hello>(protocol_.receive(Introduce{}, at(100)));
  ASSERT_EQ(hello.size(), 1U);
  EXPECT_EQ(hello.at(0).held.size(), 3U);
  const WorkerActions welcomed = protocol_.receive(kWelcome, at(110));
  EXPECT_EQ(sent<Ready>(welcomed).size(), 1U);
  EXPECT_EQ(sent<Result>(welcomed).at(0).lease.evaluation, 1);
}

TEST_F(WorkerProtocolTest, NothingIsReportedBetweenIntroduceAndWelcome) {
  make_ready();
  start(1);
  (void)protocol_.receive(Introduce{}, at(100));
  EXPECT_TRUE(protocol_.scored(some_result()).send.empty());
  EXPECT_EQ(sent<Result>(protocol_.receive(kWelcome, at(110))).size(), 1U);
}

TEST_F(WorkerProtocolTest, RevokedWaitingWorkIsDropped) {
  make_ready();
  start(1);
  (void)protocol_.receive(work(2, document_), at(0));
  (void)protocol_.receive(Revoke{{2, 1}}, at(10));
  EXPECT_FALSE(protocol_.scored(some_result()).score);
}

TEST_F(WorkerProtocolTest, RevokedRunningWorkIsNotReportedAndTheWorkerIsReadyOnlyAfterIt) {
  make_ready();
  start(1);
  (void)protocol_.receive(Revoke{{1, 1}}, at(10));
  EXPECT_TRUE(sent<Heartbeat>(protocol_.tick(0, at(20))).at(0).held.empty());
  EXPECT_TRUE(sent<Ready>(protocol_.receive(kWelcome, at(30))).empty()) << "its compute thread may hang";
  const WorkerActions actions = protocol_.scored(some_result());
  EXPECT_TRUE(sent<Result>(actions).empty());
  EXPECT_EQ(sent<Ready>(actions).size(), 1U);
}

TEST_F(WorkerProtocolTest, RevocationOfAnEarlierEpochDoesNotTouchTheLaterLease) {
  make_ready();
  (void)protocol_.receive(delivery(document_), at(0));
  ASSERT_TRUE(protocol_.receive(work(1, document_, /*epoch=*/2), at(0)).score);
  (void)protocol_.receive(Revoke{{1, 1}}, at(10));
  EXPECT_EQ(sent<Result>(protocol_.scored(some_result())).size(), 1U);
}

TEST_F(WorkerProtocolTest, NonFiniteResultIsReportedAsTheErrorItIs) {
  make_ready();
  for (const double nll_sum : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    start(1);
    ScoreResult result = some_result();
    result.nll_sum = nll_sum;
    const WorkerActions actions = protocol_.scored(result);
    EXPECT_TRUE(sent<Result>(actions).empty());
    EXPECT_EQ(sent<Failure>(actions).at(0).error, static_cast<std::int64_t>(EvaluationError::kNonFinite));
    (void)protocol_.receive(Acknowledge{{1, 1}, "stored", ""}, at(10));
  }
}

TEST_F(WorkerProtocolTest, GradientTravelsWithItsScoreAndIsSentAgainUntilAcknowledged) {
  make_ready();
  (void)protocol_.receive(delivery(document_), at(0));
  const WorkerActions started = protocol_.receive(gradient_work(1, document_), at(0));
  ASSERT_TRUE(started.score);
  EXPECT_EQ(started.score->work.kind, 1);
  ScoreResult result = some_result();
  result.gradient = {1.0 / 3.0, -2.0e-300, 0.0};  // of two pairs and m
  for (const WorkerActions& actions : {protocol_.scored(result), protocol_.tick(0, at(5000))}) {
    ASSERT_EQ(sent<Result>(actions).size(), 1U);
    const WorkerMessage received = decode_worker_message(encode(WorkerMessage(sent<Result>(actions).at(0))));
    EXPECT_EQ(std::get<Result>(received).score.gradient, result.gradient);
    EXPECT_EQ(std::get<Result>(received).score.nll_sum, 6.0);
  }
  (void)protocol_.receive(Acknowledge{{1, 1}, "stored", ""}, at(6000));
  EXPECT_TRUE(sent<Result>(protocol_.tick(0, at(20000))).empty());
}

TEST_F(WorkerProtocolTest, NonFiniteGradientIsReportedAsNonFinite) {
  make_ready();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity}) {
    for (const std::size_t position : {0U, 2U}) {
      (void)protocol_.receive(delivery(document_), at(0));
      ASSERT_TRUE(protocol_.receive(gradient_work(1, document_), at(0)).score);
      ScoreResult result = some_result();  // its NLL is finite
      result.gradient = {0.5, 0.25, 0.0};
      result.gradient[position] = bad;
      const WorkerActions actions = protocol_.scored(result);
      EXPECT_TRUE(sent<Result>(actions).empty());
      ASSERT_EQ(sent<Failure>(actions).size(), 1U);
      EXPECT_EQ(sent<Failure>(actions).at(0).error, static_cast<std::int64_t>(EvaluationError::kNonFinite));
      EXPECT_EQ(sent<Failure>(actions).at(0).detail, "the gradient is not finite");
      (void)protocol_.receive(Acknowledge{{1, 1}, "stored", ""}, at(10));
    }
  }
}

TEST_F(WorkerProtocolTest, FailureIsKeptUntilAcknowledgedToo) {
  make_ready();
  start(1);
  ASSERT_EQ(sent<Failure>(protocol_.failed(EvaluationError::kOutOfMemory, "12 GiB")).size(), 1U);
  const auto again = sent<Failure>(protocol_.tick(0, at(5000)));
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again.at(0).detail, "12 GiB");
}

TEST_F(WorkerProtocolTest, IdleWorkerRepeatsThatItIsReadyBecauseItMayHaveBeenLost) {
  make_ready();
  EXPECT_EQ(sent<Ready>(protocol_.tick(0, at(5000))).size(), 1U);
  EXPECT_TRUE(sent<Ready>(protocol_.tick(0, at(6000))).empty());
  EXPECT_EQ(sent<Ready>(protocol_.tick(0, at(10000))).size(), 1U);
}

TEST_F(WorkerProtocolTest, BusyWorkerDoesNotRepeatThatItIsReady) {
  make_ready();
  start(1);
  EXPECT_TRUE(sent<Ready>(protocol_.tick(0, at(5000))).empty());
}

TEST_F(WorkerProtocolTest, DocumentThatWasForgottenIsAskedForAgain) {
  make_ready();
  constexpr std::int32_t kMoreThanAreKept = 100;
  for (std::int32_t i = 1; i <= kMoreThanAreKept; ++i) (void)protocol_.receive(delivery(some_document(i)), at(0));
  const WorkerActions actions = protocol_.receive(work(1, some_document(1)), at(0));
  EXPECT_FALSE(actions.score);
  EXPECT_EQ(sent<NeedDocument>(actions).size(), 1U);
  EXPECT_TRUE(protocol_.receive(work(2, some_document(kMoreThanAreKept)), at(0)).score);
}

}  // namespace
}  // namespace longrope

#include "coordinator/coordinator.h"

#include "common/error.h"
#include "coordinator/store/store_reader.h"
#include "tests/support/fake_transport.h"
#include "tests/support/prepared_fixture.h"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace longrope {
namespace {

using std::chrono::milliseconds;

const Sender kSender{"worker-1", "incarnation-1"};
const std::string kPeer = "incarnation-1";

/// For a document of which `length` tokens are scored.
ScoreResult correct_result(std::int64_t length = kPreparedLength) {
  const std::int64_t tokens = length - 1;
  const double sum = 2.0 * static_cast<double>(tokens);
  return {.nll_sum = sum, .scored_tokens = tokens, .blocks = {{sum, tokens}}, .seconds = 0.25};
}

class CoordinatorTest : public testing::Test {
 protected:
  CoordinatorTest() { open(); }

  void open() {
    coordinator_.reset();
    PreparedSearch prepared = prepare_search(small_config(directory_));
    plan_ = prepared.plan;
    coordinator_ = std::make_unique<Coordinator>(
        std::move(prepared), directory_ / "search.db",
        Coordinator::Reports{[](const SearchProgress&) {},
                             [this](const std::string& text) { warnings_.push_back(text); }});
  }
  bool turn() { return coordinator_->serve_once(transport_, milliseconds(0)); }
  void join() {
    transport_.deliver(kPeer, Hello{kSender, "host", 0, {}});
    transport_.deliver(kPeer, Ready{kSender, plan_.model_digest, "cpu", 1});
    ASSERT_TRUE(turn());
  }
  /// Answers every piece of work that was sent until the search is finished.
  void work_off() {
    std::size_t seen = 0;
    while (!coordinator_->finished()) {
      const auto work = transport_.sent_to<Work>(kPeer);
      ASSERT_LT(seen, work.size()) << "nothing to do, yet not finished";
      for (; seen < work.size(); ++seen) {
        transport_.deliver(kPeer, Result{kSender, work[seen].lease, correct_result(work[seen].length)});
      }
      ASSERT_TRUE(turn());
    }
  }
  /// What another process finds on disk now.
  [[nodiscard]] std::int64_t results_on_disk() const {
    std::int64_t results = 0;
    for (const StageProgress& stage : StoreReader(directory_ / "search.db").progress()) {
      results += stage.evaluations_scored;
    }
    return results;
  }

  std::filesystem::path directory_ = fresh_directory();
  SearchPlan plan_;
  FakeTransport transport_;
  std::vector<std::string> warnings_;
  std::unique_ptr<Coordinator> coordinator_;
};

TEST_F(CoordinatorTest, AcknowledgementIsSentOnlyAfterTheResultIsOnDisk) {
  join();
  std::int64_t acknowledged = 0;
  transport_.on_send = [&](const CoordinatorMessage& message) {
    const auto* acknowledge = std::get_if<Acknowledge>(&message);
    if (acknowledge == nullptr) return;
    ++acknowledged;
    EXPECT_EQ(acknowledge->outcome, "stored");
    EXPECT_GE(results_on_disk(), acknowledged);
  };
  work_off();
  EXPECT_GT(acknowledged, 8);
  EXPECT_EQ(warnings_, std::vector<std::string>{});
}

TEST_F(CoordinatorTest, ResultsOfOneBatchAreCommittedTogetherAndAllAcknowledged) {
  join();
  for (const Work& work : transport_.sent_to<Work>(kPeer)) {
    transport_.deliver(kPeer, Result{kSender, work.lease, correct_result()});
  }
  ASSERT_TRUE(turn());
  EXPECT_EQ(transport_.sent_to<Acknowledge>(kPeer).size(), 2U);
}

TEST_F(CoordinatorTest, GarbageFramesWarnAndDoNoHarm) {
  join();
  const std::size_t sent = transport_.sent.size();
  for (const std::string& garbage :
       {std::string(), std::string("\xc1"), std::string("GET / HTTP/1.1\r\n"),
        std::string(kMaxWorkerFrameBytes + 1, 'x'), encode(CoordinatorMessage(Dismiss{"now"})),
        encode(WorkerMessage(Leaving{{"", ""}}))}) {
    transport_.deliver_bytes("stranger", garbage);
  }
  ASSERT_TRUE(turn());
  EXPECT_EQ(warnings_.size(), 6U);
  EXPECT_EQ(transport_.sent.size(), sent);
  work_off();
  EXPECT_TRUE(coordinator_->finished());
}

TEST_F(CoordinatorTest, WellFormedButImpossibleMessagesNeverBlockTheDatabase) {
  join();
  const LeaseId lease = transport_.sent_to<Work>(kPeer).front().lease;
  ScoreResult huge = correct_result();
  huge.seconds = 1.7e308;
  using std::string_literals::operator""s;
  const std::string strange = "\0\xff\xfe'; DROP TABLE worker; --"s;
  const Sender odd{strange, strange};
  const std::vector<WorkerMessage> messages = {
      Failure{kSender, lease, 4242, "no such error"},
      Result{kSender, {lease.evaluation + 1, 1}, huge},
      Result{odd, {1, 0}, correct_result()},
      Result{{"stranger", "s"}, {1, 1}, correct_result()},
      Hello{odd, strange, 0, {{std::numeric_limits<std::int64_t>::max(), 1}, {0, 0}}},
      Ready{odd, plan_.model_digest, strange, std::numeric_limits<std::int64_t>::max()},
      Heartbeat{odd, std::numeric_limits<std::int64_t>::max(), {}},
      Failure{odd, {1, 1}, 1, strange},
      Leaving{{"never-seen", "n"}},
      Unable{{"never-seen", "n"}, strange}};
  for (const WorkerMessage& message : messages) {
    transport_.deliver("stranger", message);
    ASSERT_TRUE(turn()) << "message " << message.index() << ": " << warnings_.back();
  }
  transport_.deliver(kPeer, Leaving{odd});
  ASSERT_TRUE(turn());
}

TEST_F(CoordinatorTest, NeedDocumentIsAnsweredWithTheDocument) {
  const std::string wanted = plan_.stages.front().heldout.front().digest;
  transport_.deliver(kPeer, NeedDocument{kSender, wanted});
  ASSERT_TRUE(turn());
  const auto documents = transport_.sent_to<DocumentData>(kPeer);
  ASSERT_EQ(documents.size(), 1U);
  EXPECT_EQ(digest(documents.front().document), wanted);
}

TEST_F(CoordinatorTest, DocumentOfNoSearchIsRefusedWithAWarning) {
  transport_.deliver(kPeer, NeedDocument{kSender, "../../etc/passwd"});
  ASSERT_TRUE(turn());
  EXPECT_TRUE(transport_.sent_to<DocumentData>(kPeer).empty());
  ASSERT_EQ(warnings_.size(), 1U);
  EXPECT_NE(warnings_.front().find("no document of this search: ../../etc/passwd"), std::string::npos);
}

TEST_F(CoordinatorTest, UnreachableWorkerLosesItsLeases) {
  transport_.deliver(kPeer, Hello{kSender, "host", 0, {}});
  transport_.deliver(kPeer, Ready{kSender, plan_.model_digest, "cpu", 1});
  transport_.gone.insert(kPeer);
  ASSERT_TRUE(turn());
  ASSERT_TRUE(turn());
  const Sender other{"worker-2", "incarnation-2"};
  transport_.deliver("incarnation-2", Hello{other, "host", 0, {}});
  transport_.deliver("incarnation-2", Ready{other, plan_.model_digest, "cpu", 1});
  ASSERT_TRUE(turn());
  const auto work = transport_.sent_to<Work>("incarnation-2");
  ASSERT_FALSE(work.empty());
  EXPECT_EQ(work.front().lease, (LeaseId{1, 2})) << "the first evaluation under its second epoch";
}

TEST_F(CoordinatorTest, ServeReturnsTrueWhenFinishedWithTheDismissalSent) {
  join();
  std::atomic<bool> stop = false;
  std::size_t seen = 0;
  // The worker answers within the transport: every Work becomes a Result.
  while (!coordinator_->finished()) {
    const auto work = transport_.sent_to<Work>(kPeer);
    for (; seen < work.size(); ++seen) {
      transport_.deliver(kPeer, Result{kSender, work[seen].lease, correct_result(work[seen].length)});
    }
    ASSERT_TRUE(turn());
  }
  EXPECT_TRUE(coordinator_->serve(transport_, stop));
  EXPECT_EQ(transport_.sent_to<Dismiss>(kPeer).size(), 1U);
}

TEST_F(CoordinatorTest, ServeReturnsFalseWhenStopped) {
  const std::atomic<bool> stop = true;
  EXPECT_FALSE(coordinator_->serve(transport_, stop));
}

TEST_F(CoordinatorTest, StoppedCoordinatorLeavesNobodyConnectedInTheDatabaseAndKeepsTheirLeases) {
  join();
  const std::atomic<bool> stop = true;
  EXPECT_FALSE(coordinator_->serve(transport_, stop));
  const WorkerStatus worker = StoreReader(directory_ / "search.db").workers().at(0);
  EXPECT_EQ(worker.state, "lost");
  EXPECT_EQ(worker.detail, "the coordinator stopped");
  EXPECT_EQ(worker.leases, 2);
  // While it still listens for farewells, they are heard.
  transport_.deliver(kPeer, Leaving{kSender});
  ASSERT_TRUE(turn());
  EXPECT_EQ(StoreReader(directory_ / "search.db").workers().at(0).state, "left");
}

TEST_F(CoordinatorTest, RestartedCoordinatorContinuesAndAcceptsWhatWasLeased) {
  join();
  const LeaseId lease = transport_.sent_to<Work>(kPeer).front().lease;
  open();
  transport_.sent.clear();
  transport_.deliver(kPeer, Result{kSender, lease, correct_result()});
  ASSERT_TRUE(turn());
  const auto acknowledged = transport_.sent_to<Acknowledge>(kPeer);
  ASSERT_EQ(acknowledged.size(), 1U);
  EXPECT_EQ(acknowledged.front().outcome, "stored");
  transport_.deliver(kPeer, Hello{kSender, "host", 0, {}});
  transport_.deliver(kPeer, Ready{kSender, plan_.model_digest, "cpu", 1});
  ASSERT_TRUE(turn());
  work_off();
  EXPECT_TRUE(coordinator_->finished());
}

TEST_F(CoordinatorTest, WorkersOfAKilledCoordinatorAreNotConnectedInTheDatabaseOfItsSuccessor) {
  join();
  const auto state = [&] { return StoreReader(directory_ / "search.db").workers().at(0).state; };
  EXPECT_EQ(state(), "connected");
  open();
  ASSERT_TRUE(turn());
  EXPECT_EQ(state(), "lost");
  transport_.deliver(kPeer, Hello{kSender, "host", 0, {}});
  ASSERT_TRUE(turn());
  EXPECT_EQ(state(), "connected");
}

TEST_F(CoordinatorTest, WorkerStartedAgainAfterAKillIsWelcomedWithoutWaitingForSilence) {
  join();
  const Sender restarted{"worker-1", "incarnation-2"};
  transport_.gone.insert(kPeer);  // its connection closed as it was killed
  transport_.deliver("incarnation-2", Hello{restarted, "host", 0, {}});
  ASSERT_TRUE(turn());
  transport_.longest_wait = milliseconds(0);
  ASSERT_TRUE(coordinator_->serve_once(transport_, milliseconds(250)));
  EXPECT_EQ(transport_.longest_wait, milliseconds(0)) << "nobody has to say anything first";
  ASSERT_EQ(transport_.sent_to<Introduce>("incarnation-2").size(), 1U);
  transport_.deliver("incarnation-2", Hello{restarted, "host", 0, {}});
  ASSERT_TRUE(turn());
  EXPECT_EQ(transport_.sent_to<Welcome>("incarnation-2").size(), 1U);
}

TEST_F(CoordinatorTest, SecondCoordinatorOnOneDatabaseIsRefused) {
  EXPECT_THROW(Coordinator(prepare_search(small_config(directory_)), directory_ / "search.db", {}), InputError);
}

TEST_F(CoordinatorTest, FullDiskKeepsTheBatchSendsNothingAndContinuesWhenFreed) {
  join();
  const auto work = transport_.sent_to<Work>(kPeer);
  const std::size_t sent = transport_.sent.size();
  // RLIMIT_FSIZE makes every write beyond it fail, as a full disk does.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit full = before;
  full.rlim_cur = 1;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  for (const Work& piece : work) transport_.deliver(kPeer, Result{kSender, piece.lease, correct_result()});
  const bool first = turn();
  transport_.deliver(kPeer, Heartbeat{kSender, 1, {}});
  const bool second = turn();
  const std::size_t unread = transport_.waiting();
  const std::size_t sent_while_full = transport_.sent.size();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  (void)std::signal(SIGXFSZ, previous);

  EXPECT_FALSE(first);
  EXPECT_FALSE(second);
  EXPECT_EQ(sent_while_full, sent) << "nothing is acknowledged";
  EXPECT_EQ(unread, 1U) << "nothing more is read";
  ASSERT_EQ(warnings_.size(), 2U);
  EXPECT_NE(warnings_.front().find("nothing is acknowledged until it can be written"), std::string::npos);
  ASSERT_TRUE(turn());
  EXPECT_EQ(transport_.sent_to<Acknowledge>(kPeer).size(), work.size());
  EXPECT_EQ(results_on_disk(), static_cast<std::int64_t>(work.size()));
}

}  // namespace
}  // namespace longrope

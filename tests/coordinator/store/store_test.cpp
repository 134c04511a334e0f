#include "coordinator/store/store.h"

#include "common/error.h"
#include "coordinator/store/migrations.h"
#include "tests/coordinator/store/sample_search.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <functional>
#include <limits>
#include <random>
#include <string>

namespace longrope {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using testing::AnyOf;
using testing::HasSubstr;

template <class Exception>
std::string message_of_any(const std::function<void()>& action) {
  try {
    action();
  } catch (const Exception& error) {
    return error.what();
  }
  return "(no error)";
}

std::string message_of(const std::function<void()>& action) { return message_of_any<Error>(action); }
/// A row that the schema refuses: no matter of trying again.
std::string mistake_of(const std::function<void()>& action) { return message_of_any<std::logic_error>(action); }

std::string content(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// Runs `body` in a child process; returns waitpid's status.
int in_child(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      body();
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

class StoreTest : public testing::Test {
 protected:
  fs::path directory_ = sample::fresh_directory();
  fs::path file_ = directory_ / "search.db";

  [[nodiscard]] std::int64_t count(const std::string& table) const {
    const SQLite::Database database(file_.string(), SQLite::OPEN_READONLY);
    SQLite::Statement statement(database, "SELECT count(*) FROM " + table);
    statement.executeStep();
    return statement.getColumn(0).getInt64();
  }
  /// What SQLite itself answers to a change that does not come through the store.
  [[nodiscard]] std::string raw(const std::string& sql) const {
    try {
      SQLite::Database database(file_.string(), SQLite::OPEN_READWRITE);
      database.exec(sql);
    } catch (const SQLite::Exception& failure) {
      return failure.what();
    }
    return "accepted";
  }
};

TEST_F(StoreTest, AppliedWritesSurviveKill) {
  const int status = in_child([&] {
    Store store(file_, sample::run());
    const std::vector<Write> writes = {sample::candidate(1, 0, "f1"), sample::scored(1, "f1", "d0", 123.25, 100)};
    store.apply(writes);
    ::kill(::getpid(), SIGKILL);
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  const Store store(file_, sample::run());
  const Snapshot snapshot = store.load();
  ASSERT_EQ(snapshot.evaluations.size(), 1U);
  EXPECT_EQ(snapshot.evaluations[0].result->nll_sum, 123.25);
}

TEST_F(StoreTest, SnapshotReturnsEveryFieldBitExactly) {
  StageRecord stage = sample::run().stages[0];
  stage.state = StageState::kFinished;
  stage.end = StageEnd::kTimeLimit;
  stage.end_detail = "time limit of 5 s reached";
  stage.winner = 2;
  stage.active_milliseconds = 5001;
  stage.started_at = 11;
  stage.ended_at = 12;
  stage.judging_evaluations = 13;
  stage.original_length = 4096;
  CandidateRecord parent = sample::candidate(1, 0, "f1");
  CandidateRecord child = sample::candidate(2, 1, "f2");
  child.factors = {.lambda = {1.0, 1.1, 1.23},
                   .grid_steps = {0, 10, 23},
                   .steps_per_unit = 100,
                   .n_hat = 0,
                   .attention = {AttentionPolicy::kValue, 0.1 + 0.2}};
  child.parents = {0, 0};
  child.evaluations = {2, 1};
  child.rung = 7;
  child.state = CandidateState::kTold;
  child.search_mean_nll = 1.0 / 3.0;
  child.heldout_mean_nll = std::numeric_limits<double>::denorm_min();
  child.final_mean_nll = 2.0 / 7.0;
  child.told_at = 1'700'000'000'456;
  const EvaluationRecord score = sample::scored(1, "f2", "d0", 1.0 / 7.0, 100);
  EvaluationRecord leased = sample::evaluation(2, "f2", "d1");
  leased.kind = EvaluationKind::kGradient;
  leased.cost_passes = 12.5;
  leased.state = EvaluationState::kLeased;
  leased.epoch = 3;
  leased.failures = 2;
  leased.worker = "w\u00fc";
  leased.error = "device said \"no\"";
  LeaseRecord ended = sample::lease(2, 2);
  ended.end = LeaseEnd::kExpired;
  const LeaseRecord open = sample::lease(2, 3);
  WorkerRecord worker = sample::worker();
  worker.state = WorkerState::kLost;
  worker.detail = "silent";
  const LateResultRecord late{
      .evaluation = 1, .epoch = 1, .worker = "w1", .result = *score.result, .same_as_stored = true, .received_at = 5};
  {
    Store store(file_, sample::run());
    store.apply(std::vector<Write>{worker, open, ended, leased, score, parent, child, stage, late});
  }
  const Store store(file_, sample::run());
  const Snapshot snapshot = store.load();

  ASSERT_EQ(snapshot.stages.size(), 1U);
  const StageRecord& read_stage = snapshot.stages[0];
  EXPECT_EQ(read_stage.name, "128k");
  EXPECT_EQ(read_stage.target_length, 8192);
  EXPECT_EQ(read_stage.budget, 4);
  EXPECT_EQ(read_stage.state, StageState::kFinished);
  EXPECT_EQ(read_stage.end, StageEnd::kTimeLimit);
  EXPECT_EQ(read_stage.end_detail, stage.end_detail);
  EXPECT_EQ(read_stage.winner, 2);
  EXPECT_EQ(read_stage.judging_evaluations, 13);
  EXPECT_EQ(read_stage.original_length, 4096);
  EXPECT_EQ(read_stage.active_milliseconds, 5001);
  EXPECT_EQ(read_stage.started_at, 11);
  EXPECT_EQ(read_stage.ended_at, 12);

  ASSERT_EQ(snapshot.candidates.size(), 2U);
  EXPECT_EQ(snapshot.candidates[0].factors, parent.factors);
  EXPECT_EQ(snapshot.candidates[0].search_mean_nll, std::nullopt);
  EXPECT_TRUE(snapshot.candidates[0].evaluations.empty());
  const CandidateRecord& read_child = snapshot.candidates[1];
  EXPECT_EQ(read_child.factors, child.factors);
  EXPECT_EQ(read_child.factors_digest, "f2");
  EXPECT_EQ(read_child.parents, child.parents);
  EXPECT_EQ(read_child.evaluations, child.evaluations);
  EXPECT_EQ(read_child.rung, 7);
  EXPECT_EQ(read_child.origin, "mutation");
  EXPECT_EQ(read_child.role, CandidateRole::kSearch);
  EXPECT_EQ(read_child.index, 1);
  EXPECT_EQ(read_child.state, CandidateState::kTold);
  EXPECT_EQ(read_child.search_mean_nll, child.search_mean_nll);
  EXPECT_EQ(read_child.heldout_mean_nll, child.heldout_mean_nll);
  EXPECT_EQ(read_child.final_mean_nll, child.final_mean_nll);
  EXPECT_EQ(read_child.told_at, child.told_at);

  ASSERT_EQ(snapshot.evaluations.size(), 2U);
  const EvaluationRecord& read_score = snapshot.evaluations[0];
  EXPECT_TRUE(read_score.result->same_result(*score.result));
  EXPECT_EQ(read_score.result->seconds, 0.1);
  EXPECT_EQ(read_score.result->peak_memory_bytes, 1 << 20);
  EXPECT_EQ(read_score.scored_at, score.scored_at);
  EXPECT_EQ(read_score.hash, score.hash);
  const EvaluationRecord& read_leased = snapshot.evaluations[1];
  EXPECT_FALSE(read_leased.result);
  EXPECT_EQ(read_leased.kind, EvaluationKind::kGradient);
  EXPECT_EQ(read_leased.cost_passes, 12.5);
  EXPECT_EQ(read_leased.state, EvaluationState::kLeased);
  EXPECT_EQ(read_leased.epoch, 3);
  EXPECT_EQ(read_leased.failures, 2);
  EXPECT_EQ(read_leased.worker, leased.worker);
  EXPECT_EQ(read_leased.error, leased.error);
  EXPECT_EQ(read_leased.length, 8192);
  EXPECT_EQ(read_leased.document_digest, "d1");

  ASSERT_EQ(snapshot.open_leases.size(), 1U);
  EXPECT_EQ(snapshot.open_leases[0].epoch, 3);
  EXPECT_EQ(snapshot.open_leases[0].incarnation, "i7");
  EXPECT_EQ(snapshot.open_leases[0].granted_at, 77);
  ASSERT_EQ(snapshot.workers.size(), 1U);
  EXPECT_EQ(snapshot.workers[0].seconds, worker.seconds);
  EXPECT_EQ(snapshot.workers[0].state, WorkerState::kLost);
  EXPECT_EQ(snapshot.workers[0].detail, "silent");
  EXPECT_EQ(count("late_result WHERE same_as_stored = 1"), 1);
}

TEST_F(StoreTest, GradientIsReadBackBitForBit) {
  EvaluationRecord gradient = sample::differentiated(1, "f1", "d0", 1.0 / 7.0, 100);
  gradient.result->gradient = {1.0 / 3.0, -0.0, 0.1 + 0.2, -std::numeric_limits<double>::denorm_min(), 9.9e14, -1.0};
  LateResultRecord late{.evaluation = 1, .epoch = 1, .worker = "w2", .result = *gradient.result};
  {
    Store store(file_, sample::run());
    store.apply(std::vector<Write>{sample::candidate(1, 0, "f1"), gradient, late});
    store.apply(std::vector<Write>{gradient});  // the same row again changes nothing
  }
  const Snapshot snapshot = Store(file_, sample::run()).load();
  ASSERT_EQ(snapshot.evaluations.size(), 1U);
  EXPECT_EQ(snapshot.evaluations[0].kind, EvaluationKind::kGradient);
  EXPECT_EQ(snapshot.evaluations[0].cost_passes, 3.5);
  const std::vector<double>& read = snapshot.evaluations[0].result->gradient;
  ASSERT_EQ(read.size(), gradient.result->gradient.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(std::bit_cast<std::uint64_t>(read[i]), std::bit_cast<std::uint64_t>(gradient.result->gradient[i])) << i;
  }
  EXPECT_EQ(count("late_result JOIN evaluation ON late_result.gradient = evaluation.gradient"), 1);
}

TEST_F(StoreTest, EvaluationHasAGradientIfItIsOfThatKindAndScored) {
  Store store(file_, sample::run());
  store.apply(std::vector<Write>{sample::candidate(1, 0, "f1")});
  EvaluationRecord pending = sample::evaluation(1, "f1", "d0");
  pending.kind = EvaluationKind::kGradient;
  EvaluationRecord without = sample::differentiated(1, "f1", "d0", 10.0, 100);
  without.hash = pending.hash;
  without.result->gradient.clear();
  EvaluationRecord score_with = sample::scored(1, "f1", "d0", 10.0, 100);
  score_with.result->gradient = {1.0};
  for (const bool is_known : {false, true}) {
    for (const EvaluationRecord& wrong : {without, score_with}) {
      EXPECT_THAT(mistake_of([&] { store.apply(std::vector<Write>{wrong}); }), HasSubstr("must have a gradient if"))
          << is_known;
    }
    store.apply(std::vector<Write>{pending});
  }
}

TEST_F(StoreTest, CandidateThatAsksForAnotherEvaluationIsRefused) {
  Store store(file_, sample::run());
  CandidateRecord candidate = sample::candidate(1, 0, "f1");
  candidate.evaluations = {1};
  const std::vector<Write> writes = {candidate, sample::evaluation(1, "f1", "d0"), sample::evaluation(2, "f1", "d1")};
  store.apply(writes);
  store.apply(writes);
  candidate.evaluations = {2};
  EXPECT_THAT(mistake_of([&] { store.apply(std::vector<Write>{candidate}); }), HasSubstr("asked for must not change"));
  EXPECT_EQ(store.load().candidates[0].evaluations, std::vector<std::int64_t>{1});
}

// Equal numbers reached on and off a grid share a digest, but a search goes on from the grid steps.
TEST_F(StoreTest, CandidatesOfOneDigestKeepTheirOwnGrid) {
  CandidateRecord exact = sample::candidate(1, 0, "same");
  exact.factors.lambda = {1.0, 1.0};
  CandidateRecord on_grid = exact;
  on_grid.id = 2;
  on_grid.index = 1;
  on_grid.factors.grid_steps = {0, 0};
  on_grid.factors.steps_per_unit = 100;
  on_grid.factors.attention.policy = AttentionPolicy::kNone;
  Store store(file_, sample::run());
  store.apply(std::vector<Write>{exact, on_grid});
  const Snapshot snapshot = store.load();
  EXPECT_EQ(snapshot.candidates[0].factors, exact.factors);
  EXPECT_EQ(snapshot.candidates[1].factors, on_grid.factors);
  EXPECT_EQ(count("factors"), 1);
}

TEST_F(StoreTest, SameWritesTwiceAreStoredOnce) {
  Store store(file_, sample::run());
  const std::vector<Write> writes = {sample::candidate(1, 0, "f1"), sample::scored(1, "f1", "d0", 10.0, 100)};
  store.apply(writes);
  store.apply(writes);
  EXPECT_EQ(count("candidate"), 1);
  EXPECT_EQ(count("evaluation"), 1);
}

TEST_F(StoreTest, SecondEvaluationWithTheSameHashIsRefused) {
  Store store(file_, sample::run());
  store.apply(std::vector<Write>{sample::candidate(1, 0, "f1"), sample::evaluation(1, "f1", "d0")});
  EXPECT_THAT(mistake_of([&] { store.apply(std::vector<Write>{sample::evaluation(2, "f1", "d0")}); }),
              HasSubstr("evaluation.hash"));
  EXPECT_EQ(count("evaluation"), 1);
}

TEST_F(StoreTest, FailureInTheMiddleAppliesNothing) {
  Store store(file_, sample::run());
  CandidateRecord orphan = sample::candidate(2, 1, "f2");
  orphan.parents = {41};
  const auto apply = [&] { store.apply(std::vector<Write>{sample::candidate(1, 0, "f1"), orphan}); };
  EXPECT_THAT(mistake_of(apply), HasSubstr("candidate_parent.parent"));
  EXPECT_EQ(count("candidate"), 0);
  EXPECT_EQ(count("factors"), 0);
}

TEST_F(StoreTest, NonFiniteNumbersAreRefusedForGoodBeforeTheyBecomeNull) {
  Store store(file_, sample::run());
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    CandidateRecord told = sample::candidate(1, 0, "f1");
    told.heldout_mean_nll = bad;
    EXPECT_THAT(mistake_of([&] { store.apply(std::vector<Write>{told}); }), HasSubstr("takes finite numbers only"));
    CandidateRecord lambda = sample::candidate(1, 0, "f1");
    lambda.factors.lambda[1] = bad;
    EXPECT_THAT(mistake_of([&] { store.apply(std::vector<Write>{lambda}); }), HasSubstr("takes finite numbers only"));
    EvaluationRecord score = sample::scored(1, "f1", "d0", 1.0, 100);
    score.result->blocks[1].nll_sum = bad;
    EXPECT_THAT(mistake_of([&] { store.apply(std::vector<Write>{sample::candidate(1, 0, "f1"), score}); }),
                HasSubstr("takes finite numbers only"));
    EvaluationRecord gradient = sample::differentiated(1, "f1", "d0", 1.0, 100);
    const LateResultRecord late{.evaluation = 1, .epoch = 1, .worker = "w1", .result = *gradient.result};
    for (const std::size_t number : {0U, 3U}) {
      EvaluationRecord wrong = gradient;
      wrong.result->gradient[number] = bad;
      LateResultRecord wrong_late = late;
      wrong_late.result.gradient[number] = bad;
      for (const std::vector<Write>& writes :
           {std::vector<Write>{sample::candidate(1, 0, "f1"), wrong},
            std::vector<Write>{sample::candidate(1, 0, "f1"), gradient, wrong_late}}) {
        EXPECT_THAT(mistake_of([&] { store.apply(writes); }), HasSubstr("takes finite numbers only"));
      }
    }
  }
  EXPECT_EQ(count("candidate"), 0);
}

TEST_F(StoreTest, DatabaseItselfRefusesWhatNoSearchWrites) {
  Store store(file_, sample::run());
  CandidateRecord candidate = sample::candidate(1, 0, "f1");
  candidate.evaluations = {1, 2};
  EvaluationRecord pending_gradient = sample::evaluation(4, "f1", "d1");
  pending_gradient.kind = EvaluationKind::kGradient;
  pending_gradient.hash += "-gradient";
  store.apply(std::vector<Write>{candidate, sample::scored(1, "f1", "d0", 10.0, 100), sample::evaluation(2, "f1", "d1"),
                                 sample::differentiated(3, "f1", "d0", 10.0, 100), pending_gradient});
  const std::string scored =
      "UPDATE evaluation SET state = 'scored', nll_sum = 1.0, scored_tokens = 1, blocks = '[]',"
      " seconds = 0.0, peak_memory_bytes = 0";
  for (const std::string& sql : {
           "UPDATE evaluation SET gradient = '[1.0,2.0]' WHERE id = 3"s,
           "UPDATE evaluation SET gradient = NULL WHERE id = 3"s,
           "UPDATE evaluation SET gradient = '[1.0]' WHERE id = 1"s,
           "UPDATE evaluation SET gradient = '[1.0]' WHERE id = 4"s,
           scored + " WHERE id = 4",
           scored + ", gradient = '[]' WHERE id = 4",
           scored + ", gradient = '1.0' WHERE id = 4",
           scored + ", gradient = '[1.0,null]' WHERE id = 4",
           scored + ", gradient = '[1.0,9e999]' WHERE id = 4",
           scored + ", gradient = '[1.0,-9e999]' WHERE id = 4",
           scored + ", gradient = '[1.0,\"2\"]' WHERE id = 4",
           scored + ", gradient = '[1.0,[2.0]]' WHERE id = 4",
           scored + ", gradient = '[1.0]' WHERE id = 2",
           "UPDATE candidate SET rung = -1"s,
           "UPDATE candidate_evaluation SET evaluation = 3"s,
           "INSERT INTO candidate_evaluation VALUES (1, -1, 3)"s,
           "INSERT INTO candidate_evaluation VALUES (1, 2, NULL)"s,
       }) {
    EXPECT_THAT(raw(sql), AnyOf(HasSubstr("CHECK constraint failed"), HasSubstr("NOT NULL constraint failed"),
                                HasSubstr("malformed JSON"), HasSubstr("must")))
        << sql;
  }
  EXPECT_EQ(raw(scored + ", gradient = '[1.0,-2.5e-300]' WHERE id = 4"), "accepted");
  for (const char* const sql : {
           "INSERT INTO factors VALUES ('x', '[1.0,null]', 0, 1.0)",
           "INSERT INTO factors VALUES ('x', '[1.0,NaN]', 0, 1.0)",
           "INSERT INTO factors VALUES ('x', '[1.0,1e999]', 0, 1.0)",
           "INSERT INTO factors VALUES ('x', '[1.0,-2.0]', 0, 1.0)",
           "INSERT INTO factors VALUES ('x', '[]', 0, 1.0)",
           "INSERT INTO factors VALUES ('x', '1.0', 0, 1.0)",
           "INSERT INTO factors VALUES ('x', '[1.0]', -1, 1.0)",
           "INSERT INTO factors VALUES ('x', '[1.0]', 0, 9e999)",
           "INSERT INTO factors VALUES ('x', '[1.0]', 0, NULL)",
           "UPDATE factors SET n_hat = 3",
           "UPDATE candidate SET search_mean_nll = 9e999",
           "UPDATE candidate SET state = 'told', search_mean_nll = NULL",
           "UPDATE candidate SET state = 'winning'",
           "UPDATE candidate SET attention_policy = 'mine'",
           "UPDATE evaluation SET state = 'scored', nll_sum = NULL WHERE id = 2",
           "UPDATE evaluation SET state = 'scored', nll_sum = 9e999, scored_tokens = 1, blocks = '[]', seconds = 0.0,"
           " peak_memory_bytes = 0 WHERE id = 2",
           "UPDATE evaluation SET state = 'scored', nll_sum = 1.0, scored_tokens = 1, blocks = '[[9e999,1]]',"
           " seconds = 0.0, peak_memory_bytes = 0 WHERE id = 2",
           "UPDATE evaluation SET nll_sum = 11.0 WHERE id = 1",
           "UPDATE evaluation SET state = 'done' WHERE id = 2",
           "UPDATE stage SET state = 4",
           "INSERT INTO worker VALUES ('w', 'i', 'asleep', '', '', 1, 0, 0, 0.0, 1, '')",
           "INSERT INTO run SELECT 2, name, seed, config_file, config_text, trajectory_settings, model_name,"
           " model_digest, dtype, angles, threads_per_worker, software_version FROM run",
       }) {
    EXPECT_THAT(raw(sql), AnyOf(HasSubstr("CHECK constraint failed"), HasSubstr("NOT NULL constraint failed"),
                                HasSubstr("malformed JSON"), HasSubstr("must")))
        << sql;
  }
}

TEST_F(StoreTest, SecondCoordinatorInThisProcessIsRefusedByProcessId) {
  const Store first(file_, sample::run());
  const std::string message = message_of([&] { const Store second(file_, sample::run()); });
  EXPECT_EQ(message, "database " + file_.string() + " is in use by coordinator process " + std::to_string(::getpid()));
}

TEST_F(StoreTest, SecondWriterUnderAnotherNameOfTheFileIsRefused) {
  const Store store(file_, sample::run());
  const fs::path link = directory_ / "link.db";
  fs::create_symlink("search.db", link);
  fs::create_directory_symlink(directory_, directory_ / "folder");
  for (const fs::path& other : {link, directory_ / "folder" / "search.db", directory_ / "folder" / "link.db"}) {
    EXPECT_THAT(message_of([&] { Store(other, sample::run()); }), HasSubstr("is in use by coordinator process"))
        << other;
  }
}

TEST_F(StoreTest, SecondCoordinatorInAnotherProcessIsRefused) {
  const Store first(file_, sample::run());
  const int status = in_child([&] {
    try {
      const Store second(file_, sample::run());
    } catch (const InputError&) {
      ::_exit(42);
    }
  });
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST_F(StoreTest, LockOfADeadCoordinatorIsFree) {
  in_child([&] {
    const Store first(file_, sample::run());
    ::kill(::getpid(), SIGKILL);
  });
  EXPECT_NO_THROW(const Store second(file_, sample::run()));
}

TEST_F(StoreTest, ForeignFilesAreRefusedAndLeftAsTheyAre) {
  std::mt19937 random(5);
  std::string garbage(5000, ' ');
  for (char& byte : garbage) byte = static_cast<char>(random());
  const fs::path foreign = directory_ / "foreign.db";
  {
    SQLite::Database database(foreign.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    database.exec("PRAGMA application_id = 123; CREATE TABLE mine (x); INSERT INTO mine VALUES (1)");
  }
  const fs::path unmarked = directory_ / "unmarked.db";
  {
    SQLite::Database database(unmarked.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    database.exec("CREATE TABLE mine (x)");
  }
  std::ofstream(directory_ / "garbage.db", std::ios::binary) << garbage;
  std::ofstream(directory_ / "notes.txt") << "buy milk\n";
  for (const char* const name : {"foreign.db", "unmarked.db", "garbage.db", "notes.txt"}) {
    const std::string before = content(directory_ / name);
    EXPECT_THROW(const Store store(directory_ / name, sample::run()), InputError) << name;
    EXPECT_EQ(content(directory_ / name), before) << name;
    EXPECT_FALSE(fs::exists(directory_ / (std::string(name) + ".lock"))) << name;
  }
  EXPECT_THROW(const Store store(directory_, sample::run()), InputError);
}

TEST_F(StoreTest, GarbageBehindOurHeaderIsRefused) {
  {
    const Store store(file_, sample::run());
  }
  std::string bytes = content(file_);
  std::mt19937 random(7);
  for (std::size_t i = 100; i < bytes.size(); ++i) bytes[i] = static_cast<char>(random());
  std::ofstream(file_, std::ios::binary) << bytes;
  EXPECT_THROW(const Store store(file_, sample::run()), InputError);
}

TEST_F(StoreTest, NewerSchemaIsRefused) {
  {
    const Store store(file_, sample::run());
  }
  ASSERT_EQ(raw("PRAGMA user_version = 99"), "accepted");
  EXPECT_THAT(message_of([&] { const Store store(file_, sample::run()); }), HasSubstr("version 99"));
}

TEST_F(StoreTest, OtherSearchIsRefusedNamingTheFirstDifference) {
  {
    const Store store(file_, sample::run());
  }
  const auto refusal = [&](const std::function<void(RunRecord&)>& change) {
    RunRecord other = sample::run();
    change(other);
    return message_of([&] { const Store store(file_, other); });
  };
  EXPECT_THAT(refusal([](RunRecord& run) {
                run.trajectory_settings =
                    R"({"seed":7,"stages":[{"name":"128k","search":{"lag":8,"method":"longrope"}}]})";
              }),
              HasSubstr("settings.stages[0].search.lag is 8 here but 16 in the database"));
  EXPECT_THAT(refusal([](RunRecord& run) {
                run.trajectory_settings = R"({"seed":7,"stages":[{"name":"128k","search":{"lag":16}}]})";
              }),
              HasSubstr("settings.stages[0].search.method is absent here but \"longrope\" in the database"));
  EXPECT_THAT(refusal([](RunRecord& run) { run.model_digest = "other"; }), HasSubstr("model digest is \"other\""));
  EXPECT_THAT(refusal([](RunRecord& run) { run.documents[1].digest = "other"; }),
              HasSubstr("documents.stage 0001 search document 0001.digest is \"other\" here but \"d1\""));
  EXPECT_THAT(refusal([](RunRecord& run) { run.documents.pop_back(); }), HasSubstr("heldout document 0000 is absent"));
  EXPECT_THAT(refusal([](RunRecord& run) {
                run.documents.push_back(run.documents.back());
                run.documents.back().digest = "e0";
                run.documents.back().purpose = DocumentPurpose::kFinal;
              }),
              HasSubstr("final document 0000 is {\"digest\":\"e0\",\"scored_tokens\":50} here but absent"));
  EXPECT_THAT(refusal([](RunRecord& run) { run.stages[0].budget = 5; }), HasSubstr("stages[0].budget is 5"));
  EXPECT_EQ(refusal([](RunRecord& run) { run.config_file = "moved/demo.toml"; }), "(no error)");
}

TEST_F(StoreTest, FullDiskAppliesNothingAndLaterTheSameCallSucceeds) {
  // RLIMIT_FSIZE makes every write beyond it fail, as a full disk does; in a child, because it is the process's.
  const int status = in_child([&] {
    Store store(file_, sample::run());
    std::vector<Write> writes = {sample::candidate(1, 0, "f1")};
    for (std::int64_t i = 1; i <= 2000; ++i) {
      EvaluationRecord evaluation = sample::evaluation(i, "f1", "d0");
      evaluation.hash += std::to_string(i);
      writes.emplace_back(evaluation);
    }
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit full{.rlim_cur = 150'000, .rlim_max = limit.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &full);
    bool refused = false;
    try {
      store.apply(writes);
    } catch (const InputError&) {
      ::_exit(2);
    } catch (const Error&) {
      refused = true;
    }
    if (!refused) ::_exit(3);
    if (!store.load().evaluations.empty() || !store.load().candidates.empty()) ::_exit(4);
    ::setrlimit(RLIMIT_FSIZE, &limit);
    store.apply(writes);
    if (store.load().evaluations.size() != 2000) ::_exit(5);
  });
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(count("evaluation"), 2000);
}

TEST_F(StoreTest, ReadOnlyDatabaseIsAnErrorThatNamesItAndLeavesItAsItIs) {
  {
    Store store(file_, sample::run());
    store.apply(std::vector<Write>{sample::candidate(1, 0, "f1")});
  }
  const std::string before = content(file_);
  fs::permissions(file_, fs::perms::owner_read | fs::perms::group_read | fs::perms::others_read);
  fs::permissions(directory_,
                  fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec);
  const int status = in_child([&] {
    constexpr uid_t kNobody = 65534;  // root may write everywhere
    if (::geteuid() == 0 && ::seteuid(kNobody) != 0) ::_exit(2);
    std::string message = "(no error)";
    try {
      const Store store(file_, sample::run());
    } catch (const InputError&) {
      ::_exit(3);
    } catch (const Error& error) {
      message = error.what();
    }
    if (message.find(file_.string()) == std::string::npos) ::_exit(4);
  });
  fs::permissions(directory_, fs::perms::owner_all);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(content(file_), before);
}

TEST_F(StoreTest, MissingFolderIsAnErrorThatNamesIt) {
  const fs::path file = directory_ / "absent" / "search.db";
  EXPECT_THAT(message_of([&] { const Store store(file, sample::run()); }), HasSubstr("absent"));
}

TEST_F(StoreTest, DatabaseIsInWriteAheadModeWithOurApplicationId) {
  const Store store(file_, sample::run());
  SQLite::Database database(file_.string(), SQLite::OPEN_READONLY);
  EXPECT_EQ(database.execAndGet("PRAGMA journal_mode").getString(), "wal");
  EXPECT_EQ(database.execAndGet("PRAGMA application_id").getInt(), 0x4C6F5250);
  EXPECT_EQ(database.execAndGet("PRAGMA user_version").getInt(), embedded_migrations().back().version);
}

}  // namespace
}  // namespace longrope

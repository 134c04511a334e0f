#include "coordinator/store/store_reader.h"

#include "common/error.h"
#include "tests/coordinator/store/sample_search.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <optional>

namespace longrope {
namespace {

using testing::ElementsAre;

/// Three search candidates (told, told, quarantined), an open one and a baseline. `late` changes only what depends on
/// workers and time.
std::vector<Write> sample_results(bool late) {
  CandidateRecord seed = sample::candidate(1, 0, "f1");
  seed.origin = "seed:yarn";
  seed.state = CandidateState::kTold;
  seed.search_mean_nll = (120.0 + 330.0) / 400.0;
  seed.heldout_mean_nll = 1.5;
  CandidateRecord child = sample::candidate(2, 1, "f2");
  child.parents = {0};
  child.state = CandidateState::kTold;
  child.search_mean_nll = (100.0 + 300.0) / 400.0;
  child.heldout_mean_nll = 1.25;
  CandidateRecord bad = sample::candidate(3, 2, "f3");
  bad.parents = {1, 0};
  bad.state = CandidateState::kQuarantined;
  CandidateRecord open = sample::candidate(4, 3, "f4");
  seed.evaluations = {1, 2};
  child.evaluations = {3, 4};
  bad.evaluations = {6, 8};
  open.evaluations = {7};
  CandidateRecord baseline = sample::candidate(5, 0, "f5");
  baseline.role = CandidateRole::kBaseline;
  baseline.origin = "yarn";
  baseline.heldout_mean_nll = 1.75;
  baseline.state = CandidateState::kTold;
  std::vector<EvaluationRecord> evaluations = {
      sample::scored(1, "f1", "d0", 120.0, 100), sample::scored(2, "f1", "d1", 330.0, 300),
      sample::scored(3, "f2", "d0", 100.0, 100), sample::scored(4, "f2", "d1", 300.0, 300),
      sample::scored(5, "f2", "h0", 62.5, 50),   sample::evaluation(6, "f3", "d0"),
      sample::evaluation(7, "f4", "d0"),         sample::evaluation(8, "f3", "d1")};
  evaluations[5].state = EvaluationState::kFailed;
  evaluations[7].state = EvaluationState::kCancelled;
  std::vector<Write> writes = {sample::worker()};
  if (late) {
    seed.told_at = child.told_at = bad.told_at = 1'800'000'000'000;
    for (EvaluationRecord& evaluation : evaluations) {
      evaluation.epoch += 4;
      evaluation.failures += 1;
      if (!evaluation.result) continue;
      evaluation.result->seconds *= 17.0;
      evaluation.worker = "w" + std::to_string(evaluation.id);
    }
    // A quarantined candidate may have had luck with another document first.
    evaluations[7] = sample::scored(8, "f3", "d1", 299.0, 300);
  }
  for (const CandidateRecord& candidate : {seed, child, bad, open, baseline}) writes.emplace_back(candidate);
  for (const EvaluationRecord& evaluation : evaluations) writes.emplace_back(evaluation);
  if (!late) writes.emplace_back(sample::lease(7, 1));
  return writes;
}

StageRecord finished_stage(std::int64_t winner) {
  StageRecord stage = sample::run().stages[0];
  stage.state = StageState::kFinished;
  stage.end = StageEnd::kBudget;
  stage.end_detail = "all 4 candidates of the budget told";
  stage.winner = winner;
  stage.active_milliseconds = 2500;
  return stage;
}

/// Candidates that asked for one document, or a gradient, or both, on two rungs by turns; "f1" is asked for twice.
std::vector<Write> rung_results() {
  std::vector<Write> writes = {sample::worker()};
  const auto told = [&](const std::string& factors, std::int64_t rung, double mean_nll,
                        std::vector<std::int64_t> evaluations) {
    const auto k = static_cast<std::int64_t>(writes.size()) - 1;
    CandidateRecord candidate = sample::candidate(k + 1, k, factors);
    if (factors == "f1") candidate.factors = sample::candidate(1, 0, "f1").factors;
    candidate.state = CandidateState::kTold;
    candidate.rung = rung;
    candidate.search_mean_nll = mean_nll;
    candidate.evaluations = std::move(evaluations);
    writes.emplace_back(candidate);
  };
  told("f1", 0, 1.2, {1});
  told("f2", 1, 1.5, {3});
  told("f3", 0, 1.0, {4});
  told("f1", 1, 450.0 / 400.0, {1, 2});
  told("f4", 1, 1.4, {6, 5});
  writes.insert(writes.end(),
                {sample::scored(1, "f1", "d0", 120.0, 100), sample::scored(2, "f1", "d1", 330.0, 300),
                 sample::differentiated(3, "f2", "d1", 450.0, 300), sample::scored(4, "f3", "d0", 100.0, 100),
                 sample::scored(5, "f4", "d0", 140.0, 100), sample::differentiated(6, "f4", "d1", 420.0, 300)});
  return writes;
}

class StoreReaderTest : public testing::Test {
 protected:
  std::filesystem::path directory_ = sample::fresh_directory();
  std::filesystem::path file_ = directory_ / "search.db";
};

TEST_F(StoreReaderTest, ReadsWhileTheWriterIsOpenAndWriting) {
  Store store(file_, sample::run());
  const StoreReader reader(file_);
  EXPECT_TRUE(reader.history().empty());
  EXPECT_FALSE(reader.best());
  store.apply(sample_results(false));
  EXPECT_EQ(reader.history().size(), 3U);
  const RunInfo run = reader.run();
  EXPECT_EQ(run.name, "demo");
  EXPECT_EQ(run.seed, 18'446'744'073'709'551'615U);
  EXPECT_EQ(run.model_digest, "model-digest");
}

TEST_F(StoreReaderTest, ReachedLengthIsThatOfTheSettings) {
  RunRecord record = sample::run();
  const auto reached = [&](const std::string& name) {
    const Store store(directory_ / name, record);
    return StoreReader(directory_ / name).run().reached_length;
  };
  EXPECT_EQ(reached("without.db"), std::nullopt);
  record.trajectory_settings = R"({"reached_length":256,"seed":7})";
  EXPECT_EQ(reached("with.db"), 256);
  record.trajectory_settings = R"({"reached_length":"far"})";
  EXPECT_EQ(reached("hostile.db"), std::nullopt);
}

TEST_F(StoreReaderTest, ProgressCountsCandidatesEvaluationsAndPasses) {
  Store store(file_, sample::run());
  store.apply(sample_results(false));
  const std::vector<StageProgress> stages = StoreReader(file_).progress();
  ASSERT_EQ(stages.size(), 1U);
  const StageProgress& stage = stages[0];
  EXPECT_EQ(stage.state, "pending");
  EXPECT_EQ(stage.told, 2);
  EXPECT_EQ(stage.quarantined, 1);
  EXPECT_EQ(stage.open, 1);
  EXPECT_EQ(stage.budget, 4);
  EXPECT_EQ(stage.evaluations_pending, 1);
  EXPECT_EQ(stage.evaluations_leased, 0);
  EXPECT_EQ(stage.evaluations_scored, 5);
  EXPECT_EQ(stage.evaluations_failed, 1);
  EXPECT_EQ(stage.document_passes, 5.0);
  EXPECT_EQ(stage.best_index, 1);
  EXPECT_DOUBLE_EQ(stage.best_search_perplexity.value(), std::exp(1.0));
  EXPECT_EQ(stage.winner_index, std::nullopt);
  EXPECT_EQ(stage.end_reason, "");

  store.apply(std::vector<Write>{finished_stage(1)});
  const StageProgress ended = StoreReader(file_).progress()[0];
  EXPECT_EQ(ended.end_reason, "budget");
  EXPECT_EQ(ended.end_detail, "all 4 candidates of the budget told");
  EXPECT_EQ(ended.winner_index, 0);
  EXPECT_EQ(ended.active_seconds, 2.5);
}

TEST_F(StoreReaderTest, CostsAreCountedByKindInDocumentPasses) {
  Store store(file_, sample::run());
  store.apply(sample_results(false));
  const StoreReader reader(file_);
  const std::vector<KindCost> costs = reader.costs();
  ASSERT_EQ(costs.size(), 1U);
  EXPECT_EQ(costs[0].kind, "score");
  EXPECT_GT(costs[0].evaluations, costs[0].scored);
  double passes = 0.0;
  for (const StageProgress& stage : reader.progress()) passes += stage.document_passes;
  EXPECT_GT(passes, 0.0);
  EXPECT_EQ(costs[0].document_passes, passes);
}

TEST_F(StoreReaderTest, WorkersShowOpenLeases) {
  Store store(file_, sample::run());
  store.apply(sample_results(false));
  const std::vector<WorkerStatus> workers = StoreReader(file_).workers();
  ASSERT_EQ(workers.size(), 1U);
  EXPECT_EQ(workers[0].id, "w1");
  EXPECT_EQ(workers[0].state, "connected");
  EXPECT_EQ(workers[0].leases, 1);
  EXPECT_EQ(workers[0].last_seen_at, 99);
}

TEST_F(StoreReaderTest, HistoryHasTokenWeightedPerplexityInOrderOfK) {
  Store store(file_, sample::run());
  store.apply(sample_results(false));
  const std::vector<HistoryRow> history = StoreReader(file_).history("128k");
  ASSERT_EQ(history.size(), 3U);
  EXPECT_EQ(history[0].origin, "seed:yarn");
  EXPECT_EQ(history[0].nll_sum, 450.0);
  EXPECT_EQ(history[0].scored_tokens, 400);
  EXPECT_DOUBLE_EQ(history[0].perplexity.value(), std::exp(450.0 / 400.0));
  EXPECT_DOUBLE_EQ(history[0].heldout_perplexity.value(), std::exp(1.5));
  EXPECT_EQ(history[0].kind, "score");
  EXPECT_EQ(history[0].documents, 2);
  EXPECT_EQ(history[0].document_passes, 2.0);
  EXPECT_EQ(history[0].attention_policy, "su");
  EXPECT_EQ(history[0].lambda, "[1.0,1.1000000000000003,1.3333333333333333]");
  EXPECT_NEAR(history[0].seconds, 0.2, 1e-12);
  EXPECT_EQ(history[0].workers, 1);
  EXPECT_THAT(history[1].parents, ElementsAre(0));
  EXPECT_DOUBLE_EQ(history[1].best_so_far.value(), std::exp(1.0));
  EXPECT_EQ(history[2].state, "quarantined");
  EXPECT_THAT(history[2].parents, ElementsAre(1, 0));
  EXPECT_FALSE(history[2].perplexity);
  EXPECT_FALSE(history[2].nll_sum);
  EXPECT_EQ(history[2].best_so_far, history[1].best_so_far);
}

TEST_F(StoreReaderTest, HistoryOfACandidateIsOfTheDocumentsThatItAskedFor) {
  Store store(file_, sample::run());
  store.apply(rung_results());
  const std::vector<HistoryRow> history = StoreReader(file_).history();
  ASSERT_EQ(history.size(), 5U);
  EXPECT_EQ(history[0].documents, 1) << "of both on which its factors were scored";
  EXPECT_EQ(history[0].nll_sum, 120.0);
  EXPECT_EQ(history[0].scored_tokens, 100);
  EXPECT_DOUBLE_EQ(history[0].perplexity.value(), std::exp(1.2));
  EXPECT_EQ(history[0].document_passes, 1.0);
  EXPECT_EQ(history[1].kind, "gradient");
  EXPECT_EQ(history[1].nll_sum, 450.0);
  EXPECT_EQ(history[1].document_passes, 3.5);
  EXPECT_EQ(history[3].documents, 2);
  EXPECT_EQ(history[3].nll_sum, 450.0);
  EXPECT_EQ(history[3].kind, "score");
  EXPECT_EQ(history[4].kind, "gradient,score");
  EXPECT_EQ(history[4].document_passes, 4.5);
  EXPECT_EQ(history[4].scored_tokens, 400);
  std::vector<std::string> documents;
  for (const DocumentResult& result : StoreReader(file_).document_results("128k")) {
    documents.push_back(std::to_string(result.index) + result.document);
  }
  EXPECT_THAT(documents, ElementsAre("0a", "1b", "2a", "3a", "3b", "4b", "4a"));
}

TEST_F(StoreReaderTest, BestSoFarIsThatOfTheRung) {
  Store store(file_, sample::run());
  store.apply(rung_results());
  std::vector<double> best;
  for (const HistoryRow& row : StoreReader(file_).history()) best.push_back(std::log(row.best_so_far.value()));
  EXPECT_THAT(best, testing::Pointwise(testing::DoubleNear(1e-15), {1.2, 1.5, 1.0, 1.125, 1.125}));
}

TEST_F(StoreReaderTest, BestCandidateIsOfTheHighestRung) {
  Store store(file_, sample::run());
  store.apply(rung_results());
  EXPECT_EQ(StoreReader(file_).best().value().index, 3) << "candidate 2 has a lower NLL on another document";
  const StageProgress progress = StoreReader(file_).progress().at(0);
  EXPECT_EQ(progress.best_index, 3);
  EXPECT_DOUBLE_EQ(progress.best_search_perplexity.value(), std::exp(1.125));
  EXPECT_EQ(progress.evaluations_scored, 6);
  EXPECT_EQ(progress.document_passes, 4.0 + 2 * 3.5);
  EXPECT_EQ(progress.judging_scored, 0);
}

TEST_F(StoreReaderTest, CostsOfGradientsAreCountedApart) {
  Store store(file_, sample::run());
  std::vector<Write> writes = rung_results();
  EvaluationRecord pending = sample::evaluation(7, "f3", "d1");
  pending.kind = EvaluationKind::kGradient;
  pending.cost_passes = 3.5;
  writes.emplace_back(pending);
  store.apply(writes);
  const std::vector<KindCost> costs = StoreReader(file_).costs();
  ASSERT_EQ(costs.size(), 2U);
  EXPECT_EQ(costs[0].kind, "gradient");
  EXPECT_EQ(costs[0].evaluations, 3);
  EXPECT_EQ(costs[0].scored, 2);
  EXPECT_EQ(costs[0].document_passes, 7.0) << "the pending one has cost nothing yet";
  EXPECT_EQ(costs[1].kind, "score");
  EXPECT_EQ(costs[1].evaluations, 4);
  EXPECT_EQ(costs[1].document_passes, 4.0);
}

TEST_F(StoreReaderTest, HistoryDoesNotDependOnWorkersOrTime) {
  {
    Store first(file_, sample::run());
    first.apply(sample_results(false));
    Store second(directory_ / "late.db", sample::run());
    second.apply(sample_results(true));
  }
  std::vector<HistoryRow> early = StoreReader(file_).history();
  std::vector<HistoryRow> late = StoreReader(directory_ / "late.db").history();
  ASSERT_EQ(early.size(), late.size());
  for (std::size_t i = 0; i < early.size(); ++i) {
    EXPECT_EQ(early[i].stage, late[i].stage);
    EXPECT_EQ(early[i].index, late[i].index);
    EXPECT_EQ(early[i].origin, late[i].origin);
    EXPECT_EQ(early[i].parents, late[i].parents);
    EXPECT_EQ(early[i].state, late[i].state);
    EXPECT_EQ(early[i].n_hat, late[i].n_hat);
    EXPECT_EQ(early[i].attention_value, late[i].attention_value);
    EXPECT_EQ(early[i].factors_digest, late[i].factors_digest);
    EXPECT_EQ(early[i].documents, late[i].documents);
    EXPECT_EQ(early[i].document_passes, late[i].document_passes);
    EXPECT_EQ(early[i].nll_sum, late[i].nll_sum);
    EXPECT_EQ(early[i].scored_tokens, late[i].scored_tokens);
    EXPECT_EQ(early[i].perplexity, late[i].perplexity);
    EXPECT_EQ(early[i].best_so_far, late[i].best_so_far);
    EXPECT_EQ(early[i].heldout_perplexity, late[i].heldout_perplexity);
    EXPECT_EQ(early[i].lambda, late[i].lambda);
  }
  EXPECT_NE(early[0].seconds, late[0].seconds);
}

TEST_F(StoreReaderTest, BestIsTheBestSoFarUntilTheWinnerIsChosen) {
  Store store(file_, sample::run());
  store.apply(sample_results(false));
  const BestFactors so_far = StoreReader(file_).best().value();
  EXPECT_FALSE(so_far.final);
  EXPECT_EQ(so_far.index, 1);
  EXPECT_EQ(so_far.factors, sample::candidate(2, 1, "f2").factors);

  store.apply(std::vector<Write>{finished_stage(1)});
  const BestFactors winner = StoreReader(file_).best("128k").value();
  EXPECT_TRUE(winner.final);
  EXPECT_EQ(winner.index, 0);
  EXPECT_EQ(winner.target_length, 8192);
  EXPECT_EQ(winner.heldout_documents, 1);
  EXPECT_DOUBLE_EQ(winner.heldout_perplexity.value(), std::exp(1.5));
  EXPECT_DOUBLE_EQ(winner.baselines.yarn.value(), std::exp(1.75));
  EXPECT_FALSE(winner.baselines.pi);
}

/// A finished stage whose winner has k = 1, with baselines "none" and "yarn-m1" (k = 1) and what their evaluations on
/// `document` say.
std::vector<Write> judged_results(const std::string& document) {
  std::vector<Write> writes = sample_results(false);
  CandidateRecord none = sample::candidate(6, 1, "f6");
  none.role = CandidateRole::kBaseline;
  none.origin = "none";
  none.final_mean_nll = 2.0;
  CandidateRecord without_m = sample::candidate(7, 2, "f7");
  without_m.role = CandidateRole::kBaseline;
  without_m.origin = "yarn-m1";
  CandidateRecord untouched = sample::candidate(8, 3, "f8");
  untouched.role = CandidateRole::kBaseline;
  untouched.origin = "none-winner-m";
  for (const CandidateRecord& candidate : {none, without_m, untouched}) writes.emplace_back(candidate);
  const auto score = [&](const std::string& factors, double nll_sum, std::int64_t length) {
    EvaluationRecord evaluation = sample::scored(static_cast<std::int64_t>(writes.size()) + 10, factors, document,
                                                 nll_sum, length == 8192 ? 50 : 20);
    evaluation.length = length;
    evaluation.hash += std::to_string(length);
    writes.emplace_back(std::move(evaluation));
  };
  if (document != "h0") score("f2", 61.5, 8192);
  score("f7", 70.0, 8192);
  score("f6", 100.0, 8192);
  score("f6", 40.0, 4096);
  score("f8", 42.0, 4096);
  StageRecord stage = finished_stage(2);
  stage.original_length = 4096;
  writes.emplace_back(stage);
  return writes;
}

TEST_F(StoreReaderTest, WithoutFinalDocumentsTheHeldOutOnesJudge) {
  Store store(file_, sample::run());
  EXPECT_TRUE(StoreReader(file_).judged_stages().empty());
  store.apply(judged_results("h0"));
  const std::vector<JudgedStage> stages = StoreReader(file_).judged_stages();
  ASSERT_EQ(stages.size(), 1U);
  const JudgedStage& stage = stages[0];
  EXPECT_EQ(stage.stage, "128k");
  EXPECT_EQ(stage.target_length, 8192);
  EXPECT_EQ(stage.winner, 1);
  EXPECT_FALSE(stage.final_documents);
  EXPECT_EQ(stage.finalists, 2);
  EXPECT_THAT(stage.documents, ElementsAre("c"));
  ASSERT_EQ(stage.methods.size(), 3U) << "yarn was not scored";
  EXPECT_EQ(stage.methods[0].origin, "winner");
  EXPECT_THAT(stage.methods[0].nll_sum, ElementsAre(62.5));
  EXPECT_THAT(stage.methods[0].scored_tokens, ElementsAre(50));
  EXPECT_EQ(stage.methods[1].origin, "none");
  EXPECT_EQ(stage.methods[2].origin, "yarn-m1");
  EXPECT_EQ(stage.original_length, 4096);
  ASSERT_EQ(stage.at_original_length.size(), 2U);
  EXPECT_EQ(stage.at_original_length[0].origin, "winner");
  EXPECT_THAT(stage.at_original_length[0].nll_sum, ElementsAre(42.0));
  EXPECT_EQ(stage.at_original_length[1].origin, "none");
  EXPECT_THAT(stage.at_original_length[1].scored_tokens, ElementsAre(20));
}

TEST_F(StoreReaderTest, FinalDocumentsJudgeInPlaceOfTheHeldOutOnes) {
  RunRecord run = sample::run();
  run.documents.push_back({.digest = "e0",
                           .name = "e",
                           .file = "z",
                           .tokens = 9000,
                           .stage = 1,
                           .purpose = DocumentPurpose::kFinal,
                           .scored_tokens = 50});
  Store store(file_, run);
  store.apply(judged_results("e0"));
  const JudgedStage stage = StoreReader(file_).judged_stages().at(0);
  EXPECT_TRUE(stage.final_documents);
  EXPECT_THAT(stage.documents, ElementsAre("e"));
  ASSERT_EQ(stage.methods.size(), 3U);
  EXPECT_THAT(stage.methods[0].nll_sum, ElementsAre(61.5));
  EXPECT_THAT(stage.methods[1].nll_sum, ElementsAre(100.0));
  const SQLite::Database database(file_.string(), SQLite::OPEN_READONLY);
  SQLite::Statement best(database, "SELECT none_final_perplexity FROM v_best");
  ASSERT_TRUE(best.executeStep());
  EXPECT_DOUBLE_EQ(best.getColumn(0).getDouble(), std::exp(2.0));
  EXPECT_EQ(StoreReader(file_).progress()[0].judging_scored, 4) << "one on a held-out document";
}

TEST_F(StoreReaderTest, WinnerThatCouldNotBeScoredOnAllFinalDocumentsIsNotJudged) {
  RunRecord run = sample::run();
  for (const char* digest : {"e0", "e1"}) {
    run.documents.push_back({.digest = digest,
                             .name = "e",
                             .file = "z",
                             .tokens = 9000,
                             .stage = 1,
                             .purpose = DocumentPurpose::kFinal,
                             .order = digest[1] - '0',
                             .scored_tokens = 50});
  }
  Store store(file_, run);
  store.apply(judged_results("e0"));
  const JudgedStage stage = StoreReader(file_).judged_stages().at(0);
  EXPECT_TRUE(stage.methods.empty());
  EXPECT_TRUE(stage.at_original_length.empty());
  EXPECT_EQ(stage.original_length, 0);
}

TEST_F(StoreReaderTest, DocumentResultsAddUpToTheHistory) {
  Store store(file_, sample::run());
  store.apply(sample_results(true));  // with a score of the quarantined candidate, which counts nowhere
  const StoreReader reader(file_);
  std::vector<double> sums(3, 0.0);
  std::vector<std::string> documents;
  for (const DocumentResult& result : reader.document_results("128k")) {
    sums[static_cast<std::size_t>(result.index)] += result.nll_sum;
    documents.push_back(result.document);
  }
  EXPECT_THAT(sums, ElementsAre(450.0, 400.0, 0.0));
  EXPECT_THAT(documents, ElementsAre("a", "b", "a", "b"));
  EXPECT_THROW((void)reader.document_results("256k"), InputError);
}

TEST_F(StoreReaderTest, BaselinesHaveTheirFactors) {
  Store store(file_, sample::run());
  store.apply(sample_results(false));
  const std::vector<BaselineFactors> baselines = StoreReader(file_).baseline_factors("128k");
  ASSERT_EQ(baselines.size(), 1U);
  EXPECT_EQ(baselines[0].origin, "yarn");
  EXPECT_EQ(baselines[0].lambda, sample::candidate(5, 0, "f5").factors.lambda);
}

TEST_F(StoreReaderTest, TimelineHasEveryLeaseWithWhatItWasFor) {
  Store store(file_, sample::run());
  store.apply(sample_results(false));
  LeaseRecord lost = sample::lease(1, 1);
  lost.worker = "w0";
  lost.ended_at = 80;
  lost.end = LeaseEnd::kExpired;
  LeaseRecord again = sample::lease(1, 2);
  again.granted_at = 70;
  again.ended_at = 90;
  again.end = LeaseEnd::kScored;
  store.apply(std::vector<Write>{lost, again});
  const std::vector<LeaseSpan> spans = StoreReader(file_).timeline();
  ASSERT_EQ(spans.size(), 3U);
  EXPECT_EQ(spans[0].worker, "w0");
  EXPECT_EQ(spans[0].end_reason, "expired");
  EXPECT_FALSE(spans[0].seconds);
  EXPECT_EQ(spans[1].worker, "w1");
  EXPECT_EQ(spans[1].granted_at, 70);
  EXPECT_EQ(spans[1].ended_at, 90);
  EXPECT_EQ(spans[1].seconds, 0.1);
  EXPECT_EQ(spans[1].stage, "128k");
  EXPECT_EQ(spans[1].role, "search");
  EXPECT_EQ(spans[1].origin, "seed:yarn");
  EXPECT_EQ(spans[1].index, 0);
  EXPECT_EQ(spans[1].document, "a");
  EXPECT_EQ(spans[2].index, 3);
  EXPECT_EQ(spans[2].end_reason, "");
  EXPECT_EQ(spans[2].ended_at, 0);
}

TEST_F(StoreReaderTest, LeaseOfFactorsThatWereAskedForTwiceIsOfTheCandidateThatAsked) {
  Store store(file_, sample::run());
  std::vector<Write> writes = rung_results();
  for (const std::int64_t evaluation : {1, 2, 6}) writes.emplace_back(sample::lease(evaluation, 1));
  store.apply(writes);
  std::vector<std::string> leased;
  for (const LeaseSpan& span : StoreReader(file_).timeline()) {
    leased.push_back(std::to_string(span.index) + span.document);
  }
  EXPECT_THAT(leased, ElementsAre("0a", "3b", "4b"));
}

/// Compares the rows of v_history with those of the reader.
void expect_view_agrees(const std::filesystem::path& file) {
  const SQLite::Database database(file.string(), SQLite::OPEN_READONLY);
  const std::vector<HistoryRow> history = StoreReader(file).history();
  SQLite::Statement row(database,
                        "SELECT k, perplexity, best_so_far, parents, nll_sum, kind, documents, document_passes,"
                        " scored_tokens, seconds, workers FROM v_history");
  for (const HistoryRow& expected : history) {
    ASSERT_TRUE(row.executeStep());
    EXPECT_EQ(row.getColumn(0).getInt64(), expected.index);
    if (expected.perplexity) {
      EXPECT_DOUBLE_EQ(row.getColumn(1).getDouble(), *expected.perplexity);
    }
    EXPECT_DOUBLE_EQ(row.getColumn(2).getDouble(), expected.best_so_far.value());
    ASSERT_EQ(row.getColumn(4).isNull(), !expected.nll_sum.has_value());
    EXPECT_NEAR(row.getColumn(9).getDouble(), expected.seconds, 1e-12);
    EXPECT_EQ(row.getColumn(10).getInt64(), expected.workers);
    if (!expected.nll_sum) continue;
    EXPECT_EQ(row.getColumn(4).getDouble(), *expected.nll_sum);
    EXPECT_EQ(row.getColumn(5).getString(), expected.kind);
    EXPECT_EQ(row.getColumn(6).getInt64(), expected.documents.value());
    EXPECT_EQ(row.getColumn(7).getDouble(), expected.document_passes.value());
    EXPECT_EQ(row.getColumn(8).getInt64(), expected.scored_tokens.value());
  }
  EXPECT_FALSE(row.executeStep());
}

TEST_F(StoreReaderTest, HistoryViewAgreesWithTheReaderOnEveryRung) {
  Store store(file_, sample::run());
  store.apply(rung_results());
  expect_view_agrees(file_);
}

TEST_F(StoreReaderTest, ViewsAgreeWithTheReader) {
  Store store(file_, sample::run());
  store.apply(sample_results(false));
  expect_view_agrees(file_);
  SQLite::Database database(file_.string(), SQLite::OPEN_READONLY);
  EXPECT_EQ(database.execAndGet("SELECT parents FROM v_history WHERE k = 2").getString(), "[1,0]");
  // Candidate 2 descends from 1, which descends from the seed: the longer of its two lines counts.
  EXPECT_EQ(database.execAndGet("SELECT group_concat(parent_k || ':' || depth) FROM v_lineage WHERE k = 2").getString(),
            "1:2,0:2");
  EXPECT_EQ(database.execAndGet("SELECT depth FROM v_lineage WHERE k = 0").getInt(), 0);
}

TEST_F(StoreReaderTest, UnknownStageIsRefusedWithTheNames) {
  const Store store(file_, sample::run());
  try {
    static_cast<void>(StoreReader(file_).history("256k"));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "stage must be one of [128k]: 256k");
  }
}

TEST_F(StoreReaderTest, MissingForeignAndOtherVersionsAreRefused) {
  EXPECT_THROW(const StoreReader reader(file_), InputError);
  EXPECT_FALSE(std::filesystem::exists(file_));
  std::ofstream(file_) << "";
  EXPECT_THROW(const StoreReader reader(file_), InputError);
  std::filesystem::remove(file_);
  {
    const Store store(file_, sample::run());
  }
  for (const int version : {0, 99}) {
    SQLite::Database(file_.string(), SQLite::OPEN_READWRITE).exec("PRAGMA user_version = " + std::to_string(version));
    EXPECT_THROW(const StoreReader reader(file_), InputError);
  }
  std::ofstream(directory_ / "notes.txt") << "buy milk\n";
  EXPECT_THROW(const StoreReader reader(directory_ / "notes.txt"), InputError);
}

TEST_F(StoreReaderTest, ReaderCannotWrite) {
  const Store store(file_, sample::run());
  SQLite::Database database(file_.string(), SQLite::OPEN_READONLY);
  EXPECT_THROW(database.exec("UPDATE stage SET budget = 1"), SQLite::Exception);
}

}  // namespace
}  // namespace longrope

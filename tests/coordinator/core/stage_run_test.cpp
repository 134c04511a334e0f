#include "coordinator/core/stage_run.h"

#include "common/error.h"
#include "tests/support/row_store.h"
#include "tests/support/search_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const Sender kWorker{"worker-1", "incarnation-1"};
constexpr auto kScore = EvaluationKind::kScore;
constexpr auto kGradient = EvaluationKind::kGradient;

/// Proposes the candidates of a script; all at once, or each when all before it are told. Keeps what it is told.
class ScriptedSearch final : public SearchAlgorithm {
 public:
  ScriptedSearch(std::vector<Candidate> script, bool at_once, std::vector<CandidateResult>& told)
      : script_(std::move(script)), at_once_(at_once), told_(told) {}

  [[nodiscard]] std::size_t results_needed(std::size_t k) const override { return at_once_ ? 0 : k; }
  [[nodiscard]] std::optional<Candidate> ask(std::size_t k) override { return script_.at(k); }
  void tell(std::size_t, const CandidateResult& result) override { told_.push_back(result); }

 private:
  std::vector<Candidate> script_;
  bool at_once_;
  std::vector<CandidateResult>& told_;
};

/// Factors that differ in their last pair.
RescaleFactors factors_ending_in(double lambda) {
  return exact_factors({1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, lambda}, 0, {AttentionPolicy::kNone, 1.0});
}

Candidate candidate(double lambda, std::vector<DocumentRequest> requests, std::int64_t rung = 0) {
  return {factors_ending_in(lambda), "scripted", {}, std::move(requests), rung};
}

/// One stage of `small_plan` under a scripted search, with a worker that answers when told to.
class StageRunTest : public testing::Test {
 protected:
  void begin(const std::vector<Candidate>& script, bool at_once = true) {
    plan_.stages.front().config.search.method = SearchMethod::kGradient;  // as many open candidates as there are
    plan_.stages.front().budget = script.size();
    at_once_ = at_once;
    make_run(script);
    advance();
  }
  /// Another process goes on, with this script.
  void restart(const std::vector<Candidate>& script) {
    told_.clear();
    const Snapshot snapshot = rows_.load();
    next_candidate_id_ = static_cast<std::int64_t>(snapshot.candidates.size()) + 1;
    evaluations_ = {};
    evaluations_.restart_with(snapshot, now());
    make_run(script);
    run_->restore(snapshot.stages.front(), snapshot.candidates);
    advance();
  }
  void advance() {
    Effects effects;
    run_->advance(now(), effects);
    while (auto lease = evaluations_.table.grant(kWorker, {kWorker.worker}, now(), effects)) {
      evaluations_.leases[lease->evaluation] = *lease;
    }
    for (const LeaseRecord& lease : effects.revoked) revoked_.push_back(lease.evaluation);
    rows_.apply(effects.writes);
  }
  /// The evaluation that candidate k asked for at `position`.
  [[nodiscard]] const EvaluationRecord& asked(std::size_t k, std::size_t position) const {
    return evaluations_.table.at(run_->search_candidates().at(k).evaluations.at(position));
  }
  void answer(std::int64_t evaluation, const ScoreResult& result) {
    Effects effects;
    evaluations_.table.score(evaluations_.leases.at(evaluation), result, now(), effects);
    rows_.apply(effects.writes);
    advance();
  }
  void answer(std::size_t k, std::size_t position, double mean_nll) {
    answer(asked(k, position).id, result_with_mean(mean_nll));
  }
  /// Nobody can compute it.
  void give_up(std::size_t k, std::size_t position) {
    const std::int64_t evaluation = asked(k, position).id;
    Effects effects;
    evaluations_.table.fail(evaluations_.leases.at(evaluation), LeaseEnd::kFailed, "nan", now(), effects);
    evaluations_.table.give_up(evaluation, effects);
    rows_.apply(effects.writes);
    advance();
  }
  /// Answers whatever is leased, by the last λ of the factors, until the stage is finished.
  void finish(const std::function<double(double)>& mean_nll) {
    for (std::int64_t id = 1; run_->record().state != StageState::kFinished; ++id) {
      ASSERT_LE(id, evaluations_.table.size());
      if (evaluations_.table.at(id).state != EvaluationState::kLeased) continue;
      answer(id, result_with_mean(mean_nll(last_lambda(evaluations_.table.at(id).factors_digest))));
    }
  }
  [[nodiscard]] double last_lambda(const std::string& digest) const {
    for (const auto& [id, row] : rows_.candidates) {
      if (row.factors_digest == digest) return row.factors.lambda.back();
    }
    throw std::logic_error("factors of no candidate");
  }
  /// The search candidates that were scored on held-out documents, by index.
  [[nodiscard]] std::vector<std::int64_t> finalists() const {
    std::vector<std::int64_t> found;
    for (const CandidateRecord& row : run_->search_candidates()) {
      if (row.heldout_mean_nll) found.push_back(row.index);
    }
    return found;
  }
  [[nodiscard]] std::string document(std::size_t index) const { return plan_.stages.front().search[index].digest; }
  [[nodiscard]] static Now now() { return {std::chrono::milliseconds(1000), 1'700'000'000'000}; }

  struct Leased {
    EvaluationTable table;
    std::map<std::int64_t, LeaseId> leases;  // the latest of each evaluation

    void restart_with(const Snapshot& snapshot, const Now& when) {
      table.restore(snapshot.evaluations, snapshot.open_leases, when);
      for (const LeaseRecord& lease : snapshot.open_leases) leases[lease.evaluation] = {lease.evaluation, lease.epoch};
    }
  };

  SearchPlan plan_ = small_plan();
  Leased evaluations_;
  std::int64_t next_candidate_id_ = 1;
  bool at_once_ = true;
  std::vector<CandidateResult> told_;
  std::vector<std::int64_t> revoked_;
  RowStore rows_;
  std::unique_ptr<StageRun> run_;

 private:
  void make_run(const std::vector<Candidate>& script) {
    run_ = std::make_unique<StageRun>(plan_, 0, evaluations_.table, next_candidate_id_,
                                      std::make_unique<ScriptedSearch>(script, at_once_, told_));
  }
};

TEST_F(StageRunTest, CandidateIsEvaluatedOnWhatItAskedForAndToldTheResultsInThatOrder) {
  begin({candidate(1.5, {{2, kGradient}, {0, kScore}}), candidate(2.0, {{1, kScore}})}, /*at_once=*/false);
  ASSERT_EQ(evaluations_.table.size(), 2) << "of three documents";
  EXPECT_EQ(asked(0, 0).document_digest, document(2));
  EXPECT_EQ(asked(0, 0).kind, kGradient);
  EXPECT_EQ(asked(0, 1).document_digest, document(0));
  EXPECT_EQ(asked(0, 1).kind, kScore);
  answer(0, 1, 2.0);
  EXPECT_TRUE(told_.empty()) << "one of two";
  ScoreResult gradient = result_with_mean(3.0);
  gradient.gradient = {0.0, 0.5, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0 / 3.0, 0.25};
  answer(asked(0, 0).id, gradient);
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_DOUBLE_EQ(told_[0].mean_nll, 2.5);
  ASSERT_EQ(told_[0].documents.size(), 2U);
  EXPECT_EQ(told_[0].documents[0].gradient, gradient.gradient);
  EXPECT_EQ(told_[0].documents[1].nll_sum, result_with_mean(2.0).nll_sum);
  EXPECT_EQ(asked(1, 0).document_digest, document(1));
}

TEST_F(StageRunTest, CandidateThatAsksForNothingIsScoredOnEverySearchDocument) {
  begin({candidate(1.5, {}), candidate(2.0, {})}, /*at_once=*/false);
  ASSERT_EQ(run_->search_candidates().at(0).evaluations.size(), kFixtureSearchDocuments);
  for (std::size_t order = 0; order < kFixtureSearchDocuments; ++order) {
    EXPECT_EQ(asked(0, order).document_digest, document(order));
    EXPECT_EQ(asked(0, order).kind, kScore);
    answer(0, order, 2.0);
  }
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_TRUE(told_[0].documents.empty());
}

TEST_F(StageRunTest, GradientCostsItsPassesAndAScoreOne) {
  begin({candidate(1.5, {{1, kGradient}, {1, kScore}})});
  ASSERT_EQ(evaluations_.table.size(), 2) << "a score of a document and its gradient are two evaluations";
  EXPECT_EQ(asked(0, 0).cost_passes, kGradientPasses);
  EXPECT_EQ(asked(0, 1).cost_passes, 1.0);
  EXPECT_NE(asked(0, 0).hash, asked(0, 1).hash);
  EXPECT_EQ(rows_.evaluations.at(asked(0, 0).id).cost_passes, kGradientPasses);
}

TEST_F(StageRunTest, WhatAnEarlierCandidateWasScoredOnIsNotAskedAgain) {
  begin({candidate(1.5, {{0, kScore}}), candidate(1.5, {{0, kScore}, {1, kScore}})}, /*at_once=*/false);
  answer(0, 0, 2.0);
  EXPECT_EQ(evaluations_.table.size(), 2);
  EXPECT_EQ(asked(1, 0).id, asked(0, 0).id);
  answer(1, 1, 3.0);
  EXPECT_DOUBLE_EQ(*run_->search_candidates().at(1).search_mean_nll, 2.5);
  EXPECT_DOUBLE_EQ(*run_->search_candidates().at(0).search_mean_nll, 2.0);
}

TEST_F(StageRunTest, FinalistsRankByRungThenByNllThenByIndex) {
  begin({candidate(1.0, {{0, kScore}}, 0), candidate(2.0, {{0, kScore}}, 2), candidate(3.0, {{0, kScore}}, 1),
         candidate(4.0, {{0, kScore}}, 1), candidate(5.0, {{0, kScore}}, 2)});
  const std::vector<double> mean_nll = {1.0, 3.0, 1.9, 1.9, 3.5};
  for (std::size_t k = 0; k < mean_nll.size(); ++k) {
    answer(k, 0, mean_nll[k]);
    const std::vector<std::size_t> best_so_far = {0, 1, 1, 1, 1};
    EXPECT_EQ(run_->best(), best_so_far[k]);
  }
  finish([](double lambda) { return lambda == 5.0 ? 2.0 : 2.5; });
  EXPECT_THAT(finalists(), ElementsAre(1, 2, 4))
      << "three of them; candidate 0 has the lowest NLL, on another document";
  EXPECT_EQ(rows_.stages.at(1).winner, rows_.candidates.at(5).id);
}

TEST_F(StageRunTest, FactorsAskedTwiceAreOneFinalist) {
  begin({candidate(1.5, {{0, kScore}}, 0), candidate(1.5, {{0, kScore}, {1, kScore}}, 1),
         candidate(2.0, {{0, kScore}, {1, kScore}}, 1), candidate(3.0, {{0, kScore}}, 0)},
        /*at_once=*/false);
  answer(0, 0, 1.0);
  answer(1, 1, 1.2);
  answer(2, 0, 2.0);
  answer(2, 1, 2.0);
  answer(3, 0, 1.05);
  finish([](double lambda) { return lambda; });
  EXPECT_THAT(finalists(), ElementsAre(1, 2, 3)) << "candidate 0 is candidate 1";
  EXPECT_EQ(rows_.stages.at(1).winner, rows_.candidates.at(2).id) << "on the higher rung";
}

TEST_F(StageRunTest, EvaluationThatAnotherCandidateWaitsForIsNotCancelled) {
  begin({candidate(1.5, {{0, kScore}, {1, kScore}, {2, kGradient}}), candidate(1.5, {{0, kScore}, {2, kScore}})});
  ASSERT_EQ(asked(1, 0).id, asked(0, 0).id);
  give_up(0, 1);
  EXPECT_THAT(revoked_, ElementsAre(asked(0, 2).id)) << "nobody else wants that";
  EXPECT_EQ(asked(0, 2).state, EvaluationState::kCancelled);
  EXPECT_EQ(asked(1, 0).state, EvaluationState::kLeased);
  answer(1, 0, 2.0);
  answer(1, 1, 3.0);
  EXPECT_EQ(rows_.candidates.at(1).state, CandidateState::kQuarantined);
  EXPECT_EQ(rows_.candidates.at(2).state, CandidateState::kTold);
  EXPECT_DOUBLE_EQ(*rows_.candidates.at(2).search_mean_nll, 2.5);
}

TEST_F(StageRunTest, CandidateThatAsksForWhatWasCancelledIsScored) {
  begin({candidate(1.5, {{0, kScore}, {1, kScore}}), candidate(1.5, {{1, kScore}})}, /*at_once=*/false);
  give_up(0, 0);
  EXPECT_THAT(revoked_, ElementsAre(asked(0, 1).id));
  ASSERT_EQ(asked(1, 0).state, EvaluationState::kLeased) << "once more";
  answer(1, 0, 2.0);
  EXPECT_EQ(rows_.candidates.at(2).state, CandidateState::kTold);
}

TEST_F(StageRunTest, CandidateWhoseGradientCannotBeTakenIsToldAsInfinityAndIsNoFinalist) {
  begin({candidate(1.5, {{0, kGradient}}, 5), candidate(2.0, {{0, kScore}}, 0)}, /*at_once=*/false);
  give_up(0, 0);
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_TRUE(std::isinf(told_[0].mean_nll));
  EXPECT_THAT(told_[0].documents, IsEmpty());
  answer(1, 0, 2.0);
  finish([](double lambda) { return lambda; });
  EXPECT_THAT(finalists(), ElementsAre(1));
}

TEST_F(StageRunTest, RestartReplaysGradientsFromTheRows) {
  const std::vector<Candidate> script = {candidate(1.5, {{0, kGradient}}, 1), candidate(1.5, {{1, kGradient}}, 2),
                                         candidate(2.0, {{0, kScore}, {1, kScore}}, 3)};
  begin(script, /*at_once=*/false);
  const ScoreResult first = synthetic_result(kGradient, script[0].factors.lambda, document(0));
  answer(asked(0, 0).id, first);
  const std::int64_t leased = asked(1, 0).id;
  restart(script);
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_EQ(told_[0].documents.at(0).gradient, first.gradient);
  EXPECT_EQ(asked(1, 0).id, leased);
  EXPECT_EQ(evaluations_.table.size(), 2);
  answer(leased, synthetic_result(kGradient, script[1].factors.lambda, document(1)));
  EXPECT_EQ(told_.size(), 2U);
  EXPECT_EQ(rows_.candidates.at(3).rung, 3);
}

TEST_F(StageRunTest, SearchThatAsksForOtherEvaluationsThanTheStoredOnesIsRefused) {
  begin({candidate(1.5, {{0, kGradient}}, 1)});
  for (const Candidate& other : {candidate(1.5, {{1, kGradient}}, 1), candidate(1.5, {{0, kScore}}, 1),
                                 candidate(1.5, {{0, kGradient}, {1, kGradient}}, 1), candidate(1.5, {}, 1),
                                 candidate(1.5, {{0, kGradient}}, 2)}) {
    EXPECT_THROW(restart({other}), Error);
  }
  restart({candidate(1.5, {{0, kGradient}}, 1)});
  EXPECT_EQ(asked(0, 0).state, EvaluationState::kLeased);
}

}  // namespace
}  // namespace longrope

#pragma once

#include "coordinator/core/evaluation_table.h"
#include "coordinator/core/search_plan.h"
#include "coordinator/core/trajectory.h"
#include "coordinator/search/baselines.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// One stage from its first candidate to its winner: pending → searching → choosing → finished.
/// Searching: the trajectory's candidates are scored on the search documents until a stop rule holds. Choosing: the
/// best of them and stage_baselines() are scored on held-out documents that the search never saw; the winner is the
/// finalist with the lowest held-out mean NLL, ties by index. Once there is a winner the stage is still choosing until
/// it is judged: winner and baselines are scored on the final documents, if there are any; and at the length that the
/// checkpoint reaches by itself, the checkpoint with the winner's attention factor beside the checkpoint as it is.
/// Pure; the scheduler owns it; not thread-safe.
class StageRun {
 public:
  /// Candidate ids are drawn from `next_candidate_id`, which all stages share.
  StageRun(const SearchPlan& plan, std::size_t stage_index, EvaluationTable& evaluations,
           std::int64_t& next_candidate_id);
  /// The same with `algorithm` in place of the one that the stage's configuration names.
  StageRun(const SearchPlan& plan, std::size_t stage_index, EvaluationTable& evaluations,
           std::int64_t& next_candidate_id, std::unique_ptr<SearchAlgorithm> algorithm);

  /// Rows of an earlier process. advance() replays the trajectory from them: it throws Error if the algorithm does not
  /// propose the stored candidates again, or asks for other evaluations of them.
  void restore(const StageRecord& stage, std::vector<CandidateRecord> candidates);

  /// Does all that can be done now: tells results, asks candidates, ends the search (also when its time limit is
  /// reached), chooses.
  void advance(const Now& now, Effects& effects);

  /// Adds time spent, while the stage is at work.
  void add_active_time(std::chrono::milliseconds elapsed);

  [[nodiscard]] const StageRecord& record() const { return record_; }
  [[nodiscard]] const std::vector<CandidateRecord>& search_candidates() const { return search_; }
  /// Told candidates (the budget's unit) and the best of them so far.
  [[nodiscard]] std::size_t told() const;
  [[nodiscard]] std::optional<std::size_t> best() const;
  [[nodiscard]] std::optional<std::chrono::milliseconds> time_left() const;
  /// Evaluations of search candidates that are not scored yet, if the whole budget is used.
  [[nodiscard]] std::int64_t search_left() const;
  /// Evaluations of record().judging_evaluations that are not scored yet.
  [[nodiscard]] std::int64_t judging_left() const;
  /// Whether a stop rule can end the search before its budget is used.
  [[nodiscard]] bool may_end_early() const;

 private:
  /// What a candidate is scored for. kWithinReach: on the judging documents, as far as the checkpoint reaches by
  /// itself.
  enum class Purpose { kSearch, kHeldout, kFinal, kWithinReach };
  /// A candidate waiting for all its evaluations on one set of documents.
  struct Scoring {
    Purpose purpose;
    CandidateRole role;
    std::size_t index;
    std::vector<std::int64_t> evaluations;  // in document order, or that of the candidate's requests
    bool requested = false;                 // by the algorithm, one by one
  };

  [[nodiscard]] const PlannedStage& planned() const { return plan_.stages[stage_index_]; }
  [[nodiscard]] std::vector<CandidateRecord>& candidates(CandidateRole role);
  [[nodiscard]] std::int64_t open_evaluations() const;
  [[nodiscard]] bool ask_candidates(Effects& effects);
  void adopt_stored(std::size_t index, const std::string& digest);
  void request_search(std::size_t index, const std::vector<DocumentRequest>& requests, Effects& effects);
  [[nodiscard]] Scoring request_scores(Purpose purpose, CandidateRole role, std::size_t index, Effects& effects);
  [[nodiscard]] std::int64_t need(const CandidateRecord& candidate, const PlannedDocument& document,
                                  EvaluationKind kind, std::int64_t length, Effects& effects);
  [[nodiscard]] CandidateResult result_of(const Scoring& scoring) const;
  [[nodiscard]] const std::vector<PlannedDocument>& documents_for(Purpose purpose) const;
  void request(Purpose purpose, CandidateRole role, std::size_t index, Effects& effects);
  void record_result(const Scoring& scoring, CandidateResult result, const Now& now, Effects& effects);
  /// Adds to `unwanted` the evaluations of a candidate that cannot be scored.
  [[nodiscard]] bool settle(const Scoring& scoring, std::set<std::int64_t>& unwanted, const Now& now, Effects& effects);
  void settle_all(const Now& now, Effects& effects);
  void cancel(const std::set<std::int64_t>& evaluations, const Now& now, Effects& effects);
  void mark_told(const Now& now, Effects& effects);
  void end_search(const Now& now, Effects& effects);
  [[nodiscard]] std::vector<std::size_t> finalists() const;
  void add_baselines(Effects& effects);
  void add_baseline(Baseline baseline, Effects& effects);
  void request_heldout(Effects& effects);
  void choose(Effects& effects);
  [[nodiscard]] std::size_t winner_index() const;
  void add_untouched_with_winners_m(Effects& effects);
  void request_judging(Effects& effects);
  void finish(const Now& now, Effects& effects);
  [[nodiscard]] std::int64_t heldout_needed() const;
  [[nodiscard]] std::int64_t final_needed() const;
  [[nodiscard]] std::int64_t judging_needed() const;
  /// Digests of the factors of all baselines, before there are any of those to come. Factors that several candidates
  /// share are scored once.
  [[nodiscard]] std::set<std::string> baseline_digests() const;
  void write_stage(Effects& effects) { effects.writes.emplace_back(record_); }

  const SearchPlan& plan_;
  std::size_t stage_index_;
  EvaluationTable& evaluations_;
  std::int64_t& next_candidate_id_;
  Trajectory trajectory_;
  StageRecord record_;
  std::vector<CandidateRecord> search_;  // k is the index
  std::vector<CandidateRecord> baselines_;
  std::vector<CandidateRecord> stored_;  // search candidates of an earlier process, adopted as they are asked again
  std::size_t marked_ = 0;               // first candidates, whose rows say told or quarantined
  std::vector<Scoring> open_scorings_;
};

}  // namespace longrope

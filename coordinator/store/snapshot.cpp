#include "coordinator/store/snapshot.h"

#include "coordinator/store/column_text.h"
#include "coordinator/store/row_reader.h"

#include <map>
#include <string>

namespace longrope {
namespace {

std::vector<StageRecord> read_stages(const SQLite::Database& database) {
  RowReader row(
      database,
      "SELECT id, name, target_length, budget, state, end_reason, end_detail, winner,"
      " active_milliseconds, started_at, ended_at, judging_evaluations, original_length FROM stage ORDER BY id");
  std::vector<StageRecord> stages;
  while (row.next()) {
    stages.push_back({.id = row.integer(),
                      .name = row.text(),
                      .target_length = row.integer(),
                      .budget = row.integer(),
                      .state = row.word<StageState>(),
                      .end = row.optional_word<StageEnd>(),
                      .end_detail = row.text(),
                      .winner = row.optional_integer(),
                      .active_milliseconds = row.integer(),
                      .started_at = row.integer(),
                      .ended_at = row.integer(),
                      .judging_evaluations = row.integer(),
                      .original_length = row.integer()});
  }
  return stages;
}

/// By candidate, in the order in which it asked for them.
std::map<std::int64_t, std::vector<std::int64_t>> read_asked_evaluations(const SQLite::Database& database) {
  RowReader row(database, "SELECT candidate, evaluation FROM candidate_evaluation ORDER BY candidate, position");
  std::map<std::int64_t, std::vector<std::int64_t>> asked;
  while (row.next()) {
    const std::int64_t candidate = row.integer();
    asked[candidate].push_back(row.integer());
  }
  return asked;
}

std::vector<CandidateRecord> read_candidates(const SQLite::Database& database) {
  std::map<std::int64_t, std::vector<std::int64_t>> parents = read_parents(database);
  std::map<std::int64_t, std::vector<std::int64_t>> asked = read_asked_evaluations(database);
  RowReader row(
      database,
      "SELECT id, stage, role, k, origin, lambda, lambda_grid, steps_per_unit, n_hat,"
      " attention_policy, attention_factor, factors, state, search_mean_nll, heldout_mean_nll, final_mean_nll, told_at,"
      " rung"
      " FROM candidate JOIN factors ON factors.digest = candidate.factors ORDER BY id");
  std::vector<CandidateRecord> candidates;
  while (row.next()) {
    CandidateRecord candidate;
    candidate.id = row.integer();
    candidate.stage = row.integer();
    candidate.role = row.word<CandidateRole>();
    candidate.index = row.integer();
    candidate.origin = row.text();
    candidate.factors.lambda = doubles_from_json(row.text());
    if (const auto grid = row.optional_text()) candidate.factors.grid_steps = integers_from_json(*grid);
    candidate.factors.steps_per_unit = static_cast<std::int32_t>(row.integer());
    candidate.factors.n_hat = row.integer();
    candidate.factors.attention.policy = parse_attention_policy(row.text());
    candidate.factors.attention.value = row.real();
    candidate.factors_digest = row.text();
    candidate.state = row.word<CandidateState>();
    candidate.search_mean_nll = row.optional_real();
    candidate.heldout_mean_nll = row.optional_real();
    candidate.final_mean_nll = row.optional_real();
    candidate.told_at = row.integer();
    candidate.rung = row.integer();
    candidate.evaluations = std::move(asked[candidate.id]);
    candidate.parents = std::move(parents[candidate.id]);
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

std::vector<EvaluationRecord> read_evaluations(const SQLite::Database& database) {
  RowReader row(database,
                "SELECT id, hash, kind, factors, document, length, cost_passes, state, epoch, failures,"
                " ifnull(worker, ''), error, scored_at, nll_sum, scored_tokens, blocks, seconds,"
                " peak_memory_bytes, gradient FROM evaluation ORDER BY id");
  std::vector<EvaluationRecord> evaluations;
  while (row.next()) {
    EvaluationRecord evaluation;
    evaluation.id = row.integer();
    evaluation.hash = row.text();
    evaluation.kind = row.word<EvaluationKind>();
    evaluation.factors_digest = row.text();
    evaluation.document_digest = row.text();
    evaluation.length = row.integer();
    evaluation.cost_passes = row.real();
    evaluation.state = row.word<EvaluationState>();
    evaluation.epoch = row.integer();
    evaluation.failures = row.integer();
    evaluation.worker = row.text();
    evaluation.error = row.text();
    evaluation.scored_at = row.integer();
    if (const auto nll_sum = row.optional_real()) {
      ScoreResult result;
      result.nll_sum = *nll_sum;
      result.scored_tokens = row.integer();
      result.blocks = blocks_from_json(row.text());
      result.seconds = row.real();
      result.peak_memory_bytes = row.integer();
      if (const auto gradient = row.optional_text()) result.gradient = doubles_from_json(*gradient);
      evaluation.result = std::move(result);
    }
    evaluations.push_back(std::move(evaluation));
  }
  return evaluations;
}

std::vector<LeaseRecord> read_open_leases(const SQLite::Database& database) {
  RowReader row(database,
                "SELECT evaluation, epoch, worker, incarnation, granted_at, ended_at, detail FROM lease"
                " WHERE end_reason IS NULL ORDER BY evaluation, epoch");
  std::vector<LeaseRecord> leases;
  while (row.next()) {
    leases.push_back({.evaluation = row.integer(),
                      .epoch = row.integer(),
                      .worker = row.text(),
                      .incarnation = row.text(),
                      .granted_at = row.integer(),
                      .ended_at = row.integer(),
                      .end = std::nullopt,
                      .detail = row.text()});
  }
  return leases;
}

std::vector<WorkerRecord> read_workers(const SQLite::Database& database) {
  RowReader row(database,
                "SELECT id, incarnation, state, host, device, threads, results, failures, seconds,"
                " last_seen_at, detail FROM worker ORDER BY id");
  std::vector<WorkerRecord> workers;
  while (row.next()) {
    workers.push_back({.id = row.text(),
                       .incarnation = row.text(),
                       .state = row.word<WorkerState>(),
                       .host = row.text(),
                       .device = row.text(),
                       .threads = row.integer(),
                       .results = row.integer(),
                       .failures = row.integer(),
                       .seconds = row.real(),
                       .last_seen_at = row.integer(),
                       .detail = row.text()});
  }
  return workers;
}

}  // namespace

std::map<std::int64_t, std::vector<std::int64_t>> read_parents(const SQLite::Database& database) {
  RowReader row(database,
                "SELECT candidate_parent.candidate, parent.k FROM candidate_parent"
                " JOIN candidate AS parent ON parent.id = candidate_parent.parent"
                " ORDER BY candidate_parent.candidate, candidate_parent.position");
  std::map<std::int64_t, std::vector<std::int64_t>> parents;
  while (row.next()) {
    const std::int64_t candidate = row.integer();
    parents[candidate].push_back(row.integer());
  }
  return parents;
}

Snapshot read_snapshot(const SQLite::Database& database) {
  return {.stages = read_stages(database),
          .candidates = read_candidates(database),
          .evaluations = read_evaluations(database),
          .open_leases = read_open_leases(database),
          .workers = read_workers(database)};
}

}  // namespace longrope

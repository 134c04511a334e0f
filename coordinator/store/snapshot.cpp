#include "coordinator/store/snapshot.h"

#include <map>
#include <string>

#include "coordinator/store/column_text.h"

namespace longrope {
namespace {

std::optional<std::int64_t> optional_integer(const SQLite::Column& column) {
  return column.isNull() ? std::nullopt : std::optional(column.getInt64());
}
std::optional<double> optional_real(const SQLite::Column& column) {
  return column.isNull() ? std::nullopt : std::optional(column.getDouble());
}
/// NULL is "not yet", 0 in a record.
std::int64_t time(const SQLite::Column& column) { return column.isNull() ? 0 : column.getInt64(); }

template <typename Enum>
Enum word(const SQLite::Column& column) {
  return from_column_text<Enum>(column.getString());
}
template <typename Enum>
std::optional<Enum> optional_word(const SQLite::Column& column) {
  return column.isNull() ? std::nullopt : std::optional(word<Enum>(column));
}

std::vector<StageRecord> read_stages(const SQLite::Database& database) {
  SQLite::Statement row(database,
                        "SELECT id, name, target_length, budget, state, end_reason, end_detail, winner,"
                        " active_milliseconds, started_at, ended_at FROM stage ORDER BY id");
  std::vector<StageRecord> stages;
  while (row.executeStep()) {
    int column = 0;
    stages.push_back({.id = row.getColumn(column++).getInt64(),
                      .name = row.getColumn(column++).getString(),
                      .target_length = row.getColumn(column++).getInt64(),
                      .budget = row.getColumn(column++).getInt64(),
                      .state = word<StageState>(row.getColumn(column++)),
                      .end = optional_word<StageEnd>(row.getColumn(column++)),
                      .end_detail = row.getColumn(column++).getString(),
                      .winner = optional_integer(row.getColumn(column++)),
                      .active_milliseconds = row.getColumn(column++).getInt64(),
                      .started_at = time(row.getColumn(column++)),
                      .ended_at = time(row.getColumn(column++))});
  }
  return stages;
}

std::map<std::int64_t, std::vector<std::int64_t>> read_parents(const SQLite::Database& database) {
  SQLite::Statement row(database,
                        "SELECT candidate_parent.candidate, parent.k FROM candidate_parent"
                        " JOIN candidate AS parent ON parent.id = candidate_parent.parent"
                        " ORDER BY candidate_parent.candidate, candidate_parent.position");
  std::map<std::int64_t, std::vector<std::int64_t>> parents;
  while (row.executeStep()) parents[row.getColumn(0).getInt64()].push_back(row.getColumn(1).getInt64());
  return parents;
}

std::vector<CandidateRecord> read_candidates(const SQLite::Database& database) {
  std::map<std::int64_t, std::vector<std::int64_t>> parents = read_parents(database);
  SQLite::Statement row(
      database,
      "SELECT id, stage, role, k, origin, lambda, lambda_grid, steps_per_unit, n_hat,"
      " attention_policy, attention_factor, factors, state, search_mean_nll, heldout_mean_nll, told_at"
      " FROM candidate JOIN factors ON factors.digest = candidate.factors ORDER BY id");
  std::vector<CandidateRecord> candidates;
  while (row.executeStep()) {
    int column = 0;
    CandidateRecord candidate;
    candidate.id = row.getColumn(column++).getInt64();
    candidate.stage = row.getColumn(column++).getInt64();
    candidate.role = word<CandidateRole>(row.getColumn(column++));
    candidate.index = row.getColumn(column++).getInt64();
    candidate.origin = row.getColumn(column++).getString();
    candidate.factors.lambda = doubles_from_json(row.getColumn(column++).getString());
    if (const SQLite::Column grid = row.getColumn(column++); !grid.isNull()) {
      candidate.factors.grid_steps = integers_from_json(grid.getString());
    }
    candidate.factors.steps_per_unit = row.getColumn(column++).getInt();
    candidate.factors.n_hat = row.getColumn(column++).getInt64();
    candidate.factors.attention.policy = parse_attention_policy(row.getColumn(column++).getString());
    candidate.factors.attention.value = row.getColumn(column++).getDouble();
    candidate.factors_digest = row.getColumn(column++).getString();
    candidate.state = word<CandidateState>(row.getColumn(column++));
    candidate.search_mean_nll = optional_real(row.getColumn(column++));
    candidate.heldout_mean_nll = optional_real(row.getColumn(column++));
    candidate.told_at = time(row.getColumn(column++));
    candidate.parents = std::move(parents[candidate.id]);
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

std::vector<EvaluationRecord> read_evaluations(const SQLite::Database& database) {
  SQLite::Statement row(database,
                        "SELECT id, hash, kind, factors, document, length, cost_passes, state, epoch, failures,"
                        " ifnull(worker, ''), error, scored_at, nll_sum, scored_tokens, blocks, seconds,"
                        " peak_memory_bytes FROM evaluation ORDER BY id");
  std::vector<EvaluationRecord> evaluations;
  while (row.executeStep()) {
    int column = 0;
    EvaluationRecord evaluation;
    evaluation.id = row.getColumn(column++).getInt64();
    evaluation.hash = row.getColumn(column++).getString();
    evaluation.kind = word<EvaluationKind>(row.getColumn(column++));
    evaluation.factors_digest = row.getColumn(column++).getString();
    evaluation.document_digest = row.getColumn(column++).getString();
    evaluation.length = row.getColumn(column++).getInt64();
    evaluation.cost_passes = row.getColumn(column++).getDouble();
    evaluation.state = word<EvaluationState>(row.getColumn(column++));
    evaluation.epoch = row.getColumn(column++).getInt64();
    evaluation.failures = row.getColumn(column++).getInt64();
    evaluation.worker = row.getColumn(column++).getString();
    evaluation.error = row.getColumn(column++).getString();
    evaluation.scored_at = time(row.getColumn(column++));
    if (!row.getColumn(column).isNull()) {
      ScoreResult result;
      result.nll_sum = row.getColumn(column++).getDouble();
      result.scored_tokens = row.getColumn(column++).getInt64();
      result.blocks = blocks_from_json(row.getColumn(column++).getString());
      result.seconds = row.getColumn(column++).getDouble();
      result.peak_memory_bytes = row.getColumn(column++).getInt64();
      evaluation.result = std::move(result);
    }
    evaluations.push_back(std::move(evaluation));
  }
  return evaluations;
}

std::vector<LeaseRecord> read_open_leases(const SQLite::Database& database) {
  SQLite::Statement row(database,
                        "SELECT evaluation, epoch, worker, incarnation, granted_at, ended_at, detail FROM lease"
                        " WHERE end_reason IS NULL ORDER BY evaluation, epoch");
  std::vector<LeaseRecord> leases;
  while (row.executeStep()) {
    int column = 0;
    leases.push_back({.evaluation = row.getColumn(column++).getInt64(),
                      .epoch = row.getColumn(column++).getInt64(),
                      .worker = row.getColumn(column++).getString(),
                      .incarnation = row.getColumn(column++).getString(),
                      .granted_at = time(row.getColumn(column++)),
                      .ended_at = time(row.getColumn(column++)),
                      .end = std::nullopt,
                      .detail = row.getColumn(column++).getString()});
  }
  return leases;
}

std::vector<WorkerRecord> read_workers(const SQLite::Database& database) {
  SQLite::Statement row(database,
                        "SELECT id, incarnation, state, host, device, threads, results, failures, seconds,"
                        " last_seen_at, detail FROM worker ORDER BY id");
  std::vector<WorkerRecord> workers;
  while (row.executeStep()) {
    int column = 0;
    workers.push_back({.id = row.getColumn(column++).getString(),
                       .incarnation = row.getColumn(column++).getString(),
                       .state = word<WorkerState>(row.getColumn(column++)),
                       .host = row.getColumn(column++).getString(),
                       .device = row.getColumn(column++).getString(),
                       .threads = row.getColumn(column++).getInt64(),
                       .results = row.getColumn(column++).getInt64(),
                       .failures = row.getColumn(column++).getInt64(),
                       .seconds = row.getColumn(column++).getDouble(),
                       .last_seen_at = time(row.getColumn(column++)),
                       .detail = row.getColumn(column++).getString()});
  }
  return workers;
}

}  // namespace

Snapshot read_snapshot(const SQLite::Database& database) {
  return {.stages = read_stages(database),
          .candidates = read_candidates(database),
          .evaluations = read_evaluations(database),
          .open_leases = read_open_leases(database),
          .workers = read_workers(database)};
}

}  // namespace longrope

#include "coordinator/store/record_writer.h"

#include "common/error.h"
#include "coordinator/store/column_text.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace longrope {
namespace {

/// Binds the parameters of one execution in order.
class Parameters {
 public:
  explicit Parameters(SQLite::Statement& statement) : statement_(statement) {
    // An execution that failed leaves its error in the statement; it was reported then.
    statement_.tryReset();
    statement_.clearBindings();
  }

  Parameters& integer(std::int64_t value) {
    statement_.bind(++index_, value);
    return *this;
  }
  Parameters& real(double value) {
    ++index_;
    if (!std::isfinite(value)) {
      throw Error(fmt::format("the database takes finite numbers only: {} (parameter {} of {})", value, index_,
                              statement_.getQuery()));
    }
    statement_.bind(index_, value);
    return *this;
  }
  Parameters& text(std::string_view value) {
    statement_.bind(++index_, std::string(value));
    return *this;
  }
  Parameters& null() {
    statement_.bind(++index_);
    return *this;
  }

  Parameters& integer(std::optional<std::int64_t> value) { return value ? integer(*value) : null(); }
  Parameters& real(std::optional<double> value) { return value ? real(*value) : null(); }
  template <typename Enum>
  Parameters& word(Enum value) {
    return text(column_text(value));
  }
  template <typename Enum>
  Parameters& word(std::optional<Enum> value) {
    return value ? word(*value) : null();
  }
  /// Unix milliseconds; 0 means "not yet".
  Parameters& time(std::int64_t value) { return value == 0 ? null() : integer(value); }

  void execute() {
    statement_.exec();
    statement_.tryReset();
  }

 private:
  SQLite::Statement& statement_;
  int index_ = 0;
};

constexpr const char* kUpsertStage =
    "INSERT INTO stage (id, name, target_length, budget, state, end_reason, end_detail, winner, active_milliseconds,"
    " started_at, ended_at, judging_evaluations, original_length)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET name = excluded.name, target_length = excluded.target_length,"
    " budget = excluded.budget, state = excluded.state, end_reason = excluded.end_reason,"
    " end_detail = excluded.end_detail, winner = excluded.winner, active_milliseconds = excluded.active_milliseconds,"
    " started_at = excluded.started_at, ended_at = excluded.ended_at,"
    " judging_evaluations = excluded.judging_evaluations, original_length = excluded.original_length";
constexpr const char* kInsertFactors =
    "INSERT INTO factors (digest, lambda, n_hat, attention_factor) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING";
constexpr const char* kUpsertCandidate =
    "INSERT INTO candidate (id, stage, role, k, origin, factors, lambda_grid, steps_per_unit, attention_policy, state,"
    " search_mean_nll, heldout_mean_nll, final_mean_nll, told_at, rung)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET stage = excluded.stage, role = excluded.role, k = excluded.k,"
    " origin = excluded.origin, factors = excluded.factors, lambda_grid = excluded.lambda_grid,"
    " steps_per_unit = excluded.steps_per_unit, attention_policy = excluded.attention_policy, state = excluded.state,"
    " search_mean_nll = excluded.search_mean_nll, heldout_mean_nll = excluded.heldout_mean_nll,"
    " final_mean_nll = excluded.final_mean_nll, told_at = excluded.told_at, rung = excluded.rung";
// A parent that does not exist is NULL here, which the column refuses.
constexpr const char* kUpsertParent =
    "INSERT INTO candidate_parent (candidate, position, parent)"
    " VALUES (?, ?, (SELECT id FROM candidate WHERE stage = ? AND role = 'search' AND k = ?))"
    " ON CONFLICT (candidate, position) DO UPDATE SET parent = excluded.parent";
constexpr const char* kDeleteSurplusParents = "DELETE FROM candidate_parent WHERE candidate = ? AND position >= ?";
// What a candidate asked for is written with it; the schema refuses another evaluation in its place.
constexpr const char* kUpsertCandidateEvaluation =
    "INSERT INTO candidate_evaluation (candidate, position, evaluation) VALUES (?, ?, ?)"
    " ON CONFLICT (candidate, position) DO UPDATE SET evaluation = excluded.evaluation";
constexpr const char* kUpsertEvaluation =
    "INSERT INTO evaluation (id, hash, kind, factors, document, length, cost_passes, state, epoch, failures, worker,"
    " error, scored_at, nll_sum, scored_tokens, blocks, seconds, peak_memory_bytes, gradient)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, kind = excluded.kind, factors = excluded.factors,"
    " document = excluded.document, length = excluded.length, cost_passes = excluded.cost_passes,"
    " state = excluded.state, epoch = excluded.epoch, failures = excluded.failures, worker = excluded.worker,"
    " error = excluded.error, scored_at = excluded.scored_at, nll_sum = excluded.nll_sum,"
    " scored_tokens = excluded.scored_tokens, blocks = excluded.blocks, seconds = excluded.seconds,"
    " peak_memory_bytes = excluded.peak_memory_bytes, gradient = excluded.gradient";
constexpr const char* kUpsertLease =
    "INSERT INTO lease (evaluation, epoch, worker, incarnation, granted_at, ended_at, end_reason, detail)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (evaluation, epoch) DO UPDATE SET worker = excluded.worker, incarnation = excluded.incarnation,"
    " granted_at = excluded.granted_at, ended_at = excluded.ended_at, end_reason = excluded.end_reason,"
    " detail = excluded.detail";
constexpr const char* kUpsertLateResult =
    "INSERT INTO late_result (evaluation, epoch, worker, nll_sum, scored_tokens, blocks, seconds, peak_memory_bytes,"
    " same_as_stored, received_at, gradient) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (evaluation, epoch, worker) DO UPDATE SET nll_sum = excluded.nll_sum,"
    " scored_tokens = excluded.scored_tokens, blocks = excluded.blocks, seconds = excluded.seconds,"
    " peak_memory_bytes = excluded.peak_memory_bytes, same_as_stored = excluded.same_as_stored,"
    " received_at = excluded.received_at, gradient = excluded.gradient";
constexpr const char* kUpsertWorker =
    "INSERT INTO worker (id, incarnation, state, host, device, threads, results, failures, seconds, last_seen_at,"
    " detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, state = excluded.state,"
    " host = excluded.host, device = excluded.device, threads = excluded.threads, results = excluded.results,"
    " failures = excluded.failures, seconds = excluded.seconds, last_seen_at = excluded.last_seen_at,"
    " detail = excluded.detail";

}  // namespace

RecordWriter::RecordWriter(SQLite::Database& database)
    : stage_(database, kUpsertStage),
      factors_(database, kInsertFactors),
      candidate_(database, kUpsertCandidate),
      parent_(database, kUpsertParent),
      surplus_parents_(database, kDeleteSurplusParents),
      candidate_evaluation_(database, kUpsertCandidateEvaluation),
      evaluation_(database, kUpsertEvaluation),
      lease_(database, kUpsertLease),
      late_result_(database, kUpsertLateResult),
      worker_(database, kUpsertWorker) {}

void RecordWriter::write(const Write& record) {
  std::visit([this](const auto& row) { write_row(row); }, record);
}

void RecordWriter::write_row(const StageRecord& stage) {
  Parameters(stage_)
      .integer(stage.id)
      .text(stage.name)
      .integer(stage.target_length)
      .integer(stage.budget)
      .word(stage.state)
      .word(stage.end)
      .text(stage.end_detail)
      .integer(stage.winner)
      .integer(stage.active_milliseconds)
      .time(stage.started_at)
      .time(stage.ended_at)
      .integer(stage.judging_evaluations)
      .integer(stage.original_length == 0 ? std::nullopt : std::optional(stage.original_length))
      .execute();
}

void RecordWriter::write_row(const CandidateRecord& candidate) {
  const RescaleFactors& factors = candidate.factors;
  Parameters(factors_)
      .text(candidate.factors_digest)
      .text(json_array(factors.lambda))
      .integer(factors.n_hat)
      .real(factors.attention.value)
      .execute();
  Parameters row(candidate_);
  row.integer(candidate.id)
      .integer(candidate.stage)
      .word(candidate.role)
      .integer(candidate.index)
      .text(candidate.origin)
      .text(candidate.factors_digest);
  factors.grid_steps.empty() ? row.null() : row.text(json_array(factors.grid_steps));
  row.integer(factors.steps_per_unit)
      .text(to_string(factors.attention.policy))
      .word(candidate.state)
      .real(candidate.search_mean_nll)
      .real(candidate.heldout_mean_nll)
      .real(candidate.final_mean_nll)
      .time(candidate.told_at)
      .integer(candidate.rung)
      .execute();
  std::int64_t position = 0;
  for (const std::int64_t parent : candidate.parents) {
    Parameters(parent_).integer(candidate.id).integer(position++).integer(candidate.stage).integer(parent).execute();
  }
  Parameters(surplus_parents_).integer(candidate.id).integer(position).execute();
  position = 0;
  for (const std::int64_t evaluation : candidate.evaluations) {
    Parameters(candidate_evaluation_).integer(candidate.id).integer(position++).integer(evaluation).execute();
  }
}

void RecordWriter::write_row(const EvaluationRecord& evaluation) {
  Parameters row(evaluation_);
  row.integer(evaluation.id)
      .text(evaluation.hash)
      .word(evaluation.kind)
      .text(evaluation.factors_digest)
      .text(evaluation.document_digest)
      .integer(evaluation.length)
      .real(evaluation.cost_passes)
      .word(evaluation.state)
      .integer(evaluation.epoch)
      .integer(evaluation.failures);
  evaluation.worker.empty() ? row.null() : row.text(evaluation.worker);
  row.text(evaluation.error).time(evaluation.scored_at);
  if (evaluation.result) {
    row.real(evaluation.result->nll_sum)
        .integer(evaluation.result->scored_tokens)
        .text(json_array(evaluation.result->blocks))
        .real(evaluation.result->seconds)
        .integer(evaluation.result->peak_memory_bytes);
    if (!evaluation.result->gradient.empty()) row.text(json_array(evaluation.result->gradient));
  }
  row.execute();
}

void RecordWriter::write_row(const LeaseRecord& lease) {
  Parameters(lease_)
      .integer(lease.evaluation)
      .integer(lease.epoch)
      .text(lease.worker)
      .text(lease.incarnation)
      .time(lease.granted_at)
      .time(lease.ended_at)
      .word(lease.end)
      .text(lease.detail)
      .execute();
}

void RecordWriter::write_row(const LateResultRecord& late) {
  Parameters row(late_result_);
  row.integer(late.evaluation)
      .integer(late.epoch)
      .text(late.worker)
      .real(late.result.nll_sum)
      .integer(late.result.scored_tokens)
      .text(json_array(late.result.blocks))
      .real(late.result.seconds)
      .integer(late.result.peak_memory_bytes);
  late.same_as_stored ? row.integer(*late.same_as_stored ? 1 : 0) : row.null();
  row.time(late.received_at);
  if (!late.result.gradient.empty()) row.text(json_array(late.result.gradient));
  row.execute();
}

void RecordWriter::write_row(const WorkerRecord& worker) {
  Parameters(worker_)
      .text(worker.id)
      .text(worker.incarnation)
      .word(worker.state)
      .text(worker.host)
      .text(worker.device)
      .integer(worker.threads)
      .integer(worker.results)
      .integer(worker.failures)
      .real(worker.seconds)
      .time(worker.last_seen_at)
      .text(worker.detail)
      .execute();
}

}  // namespace longrope

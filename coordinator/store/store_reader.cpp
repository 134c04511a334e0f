#include "coordinator/store/store_reader.h"

#include "common/error.h"
#include "coordinator/store/column_text.h"
#include "coordinator/store/database_file.h"
#include "coordinator/store/judged_stages.h"
#include "coordinator/store/migrations.h"
#include "coordinator/store/row_reader.h"
#include "coordinator/store/snapshot.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace longrope {
namespace {

std::optional<double> perplexity(std::optional<double> mean_nll) {
  return mean_nll ? std::optional(std::exp(*mean_nll)) : std::nullopt;
}

/// [model] reached_length in the settings of a run; they are whatever a database holds.
std::optional<std::int64_t> reached_length_of(const std::string& settings) {
  const nlohmann::json json = nlohmann::json::parse(settings, nullptr, /*allow_exceptions=*/false);
  const auto found = json.is_object() ? json.find("reached_length") : json.end();
  return found != json.end() && found->is_number_integer() ? std::optional(found->get<std::int64_t>()) : std::nullopt;
}

struct Timing {
  double seconds = 0.0;
  std::set<std::string> workers;
};

/// Search documents of one candidate, added in document order so that the sums have the same bits in every database.
struct DocumentSums {
  std::set<std::string> kinds;
  std::int64_t documents = 0;
  double document_passes = 0.0;
  double nll_sum = 0.0;
  std::int64_t scored_tokens = 0;
  Timing timing;
};

constexpr const char* kSearchScores =
    "SELECT candidate.id, evaluation.cost_passes, evaluation.nll_sum, evaluation.scored_tokens, evaluation.seconds,"
    " ifnull(evaluation.worker, ''), evaluation.kind"
    " FROM candidate JOIN stage ON stage.id = candidate.stage"
    " JOIN candidate_evaluation ON candidate_evaluation.candidate = candidate.id"
    " JOIN evaluation ON evaluation.id = candidate_evaluation.evaluation"
    " WHERE candidate.role = 'search' AND candidate.state IN ('told', 'quarantined') AND (?1 IS NULL OR stage.name = "
    "?1)"
    "  AND evaluation.state = 'scored'"
    " ORDER BY candidate.id, candidate_evaluation.position";

constexpr const char* kHistory =
    "SELECT candidate.id, stage.name, candidate.k, candidate.origin, candidate.state, factors.n_hat,"
    " candidate.attention_policy, factors.attention_factor, candidate.factors, candidate.search_mean_nll,"
    " candidate.heldout_mean_nll, factors.lambda, candidate.told_at, candidate.rung"
    " FROM candidate JOIN stage ON stage.id = candidate.stage JOIN factors ON factors.digest = candidate.factors"
    " WHERE candidate.role = 'search' AND candidate.state IN ('told', 'quarantined') AND (?1 IS NULL OR stage.name = "
    "?1)"
    " ORDER BY stage.id, candidate.k";

void bind_stage(RowReader& row, std::optional<std::string_view> stage) {
  if (stage) row.bind(std::string(*stage));
}

std::map<std::int64_t, DocumentSums> search_sums(const SQLite::Database& database,
                                                 std::optional<std::string_view> stage) {
  RowReader row(database, kSearchScores);
  bind_stage(row, stage);
  std::map<std::int64_t, DocumentSums> sums;
  while (row.next()) {
    DocumentSums& sum = sums[row.integer()];
    ++sum.documents;
    sum.document_passes += row.real();
    sum.nll_sum += row.real();
    sum.scored_tokens += row.integer();
    sum.timing.seconds += row.real();
    sum.timing.workers.insert(row.text());
    sum.kinds.insert(row.text());
  }
  return sums;
}

void require_stage(const SQLite::Database& database, std::optional<std::string_view> stage) {
  if (!stage) return;
  std::vector<std::string> names;
  RowReader row(database, "SELECT name FROM stage ORDER BY id");
  while (row.next()) names.push_back(row.text());
  if (std::ranges::find(names, *stage) == names.end()) {
    throw InputError(fmt::format("stage must be one of [{}]: {}", fmt::join(names, ", "), *stage));
  }
}

}  // namespace

struct StoreReader::Implementation {
  std::filesystem::path file;
  std::unique_ptr<SQLite::Database> database;

  /// Runs `read` in one transaction, so that all of its statements see the same state.
  template <typename Read>
  auto consistently(Read read) {
    try {
      SQLite::Transaction transaction(*database);
      return read(*database);
    } catch (const SQLite::Exception& failure) {
      throw Error(fmt::format("cannot read the database: {} ({})", failure.what(), file.string()));
    }
  }
};

StoreReader::StoreReader(const std::filesystem::path& file) : implementation_(std::make_unique<Implementation>()) {
  require_own_or_empty_file(file);
  implementation_->file = file;
  implementation_->database = open_for_reading(file);
  SQLite::Database& database = *implementation_->database;
  require_own_and_sound(database, file);
  const int version = implementation_->consistently(schema_version);
  const int known = embedded_migrations().back().version;
  if (version == 0) throw InputError(fmt::format("the database holds no search yet: {}", file.string()));
  if (version > known) {
    throw InputError(fmt::format("the schema must be of version {}: {} was written by a newer release, with version {}",
                                 known, file.string(), version));
  }
  if (version < known) {
    throw InputError(
        fmt::format("the schema must be of version {}: {} has version {}; starting the coordinator on it "
                    "once migrates it, after a backup",
                    known, file.string(), version));
  }
}

StoreReader::~StoreReader() = default;

RunInfo StoreReader::run() const {
  return implementation_->consistently([this](const SQLite::Database& database) {
    RowReader row(database,
                  "SELECT name, seed, model_name, model_digest, dtype, angles, threads_per_worker, config_file,"
                  " software_version, trajectory_settings FROM run");
    if (!row.next()) {
      throw InputError(fmt::format("the database holds no search yet: {}", implementation_->file.string()));
    }
    RunInfo run;
    run.name = row.text();
    run.seed = std::stoull(row.text());
    run.model_name = row.text();
    run.model_digest = row.text();
    run.dtype = row.text();
    run.angles = row.text();
    run.threads_per_worker = row.integer();
    run.config_file = row.text();
    run.software_version = row.text();
    run.reached_length = reached_length_of(row.text());
    return run;
  });
}

std::vector<StageProgress> StoreReader::progress() const {
  return implementation_->consistently([](const SQLite::Database& database) {
    RowReader row(
        database,
        "SELECT name, target_length, state, told, quarantined, open, budget, evaluations_pending, evaluations_leased,"
        " evaluations_scored, evaluations_failed, document_passes, best_search_perplexity, best_k, winner_k, "
        "end_reason,"
        " end_detail, active_seconds, judging_evaluations, judging_scored FROM v_progress");
    std::vector<StageProgress> stages;
    while (row.next()) {
      StageProgress stage;
      stage.name = row.text();
      stage.target_length = row.integer();
      stage.state = row.text();
      stage.told = row.integer();
      stage.quarantined = row.integer();
      stage.open = row.integer();
      stage.budget = row.integer();
      stage.evaluations_pending = row.integer();
      stage.evaluations_leased = row.integer();
      stage.evaluations_scored = row.integer();
      stage.evaluations_failed = row.integer();
      stage.document_passes = row.real();
      stage.best_search_perplexity = row.optional_real();
      stage.best_index = row.optional_integer();
      stage.winner_index = row.optional_integer();
      stage.end_reason = row.text();
      stage.end_detail = row.text();
      stage.active_seconds = row.real();
      stage.judging_evaluations = row.integer();
      stage.judging_scored = row.integer();
      stages.push_back(std::move(stage));
    }
    return stages;
  });
}

std::vector<KindCost> StoreReader::costs() const {
  return implementation_->consistently([](const SQLite::Database& database) {
    RowReader row(database,
                  "SELECT kind, count(*), sum(state = 'scored'),"
                  " sum(CASE state WHEN 'scored' THEN cost_passes ELSE 0.0 END)"
                  " FROM evaluation GROUP BY kind ORDER BY kind");
    std::vector<KindCost> costs;
    while (row.next()) {
      costs.push_back({row.text(), row.integer(), row.integer(), row.real()});
    }
    return costs;
  });
}

std::vector<WorkerStatus> StoreReader::workers() const {
  return implementation_->consistently([](const SQLite::Database& database) {
    RowReader row(database,
                  "SELECT v_workers.id, v_workers.state, v_workers.host, v_workers.device, v_workers.threads,"
                  " leases, v_workers.results, v_workers.failures, v_workers.seconds, worker.last_seen_at,"
                  " v_workers.detail FROM v_workers JOIN worker ON worker.id = v_workers.id ORDER BY worker.id");
    std::vector<WorkerStatus> workers;
    while (row.next()) {
      WorkerStatus worker;
      worker.id = row.text();
      worker.state = row.text();
      worker.host = row.text();
      worker.device = row.text();
      worker.threads = row.integer();
      worker.leases = row.integer();
      worker.results = row.integer();
      worker.failures = row.integer();
      worker.seconds = row.real();
      worker.last_seen_at = row.integer();
      worker.detail = row.text();
      workers.push_back(std::move(worker));
    }
    return workers;
  });
}

std::vector<HistoryRow> StoreReader::history(std::optional<std::string_view> stage) const {
  return implementation_->consistently([&](const SQLite::Database& database) {
    require_stage(database, stage);
    std::map<std::int64_t, DocumentSums> sums = search_sums(database, stage);
    std::map<std::int64_t, std::vector<std::int64_t>> parents = read_parents(database);
    RowReader row(database, kHistory);
    bind_stage(row, stage);
    std::vector<HistoryRow> history;
    // By stage and rung: the NLL of candidates of another rung is of other documents.
    std::map<std::pair<std::string, std::int64_t>, std::optional<double>> best;
    while (row.next()) {
      const std::int64_t candidate = row.integer();
      HistoryRow told;
      told.stage = row.text();
      told.index = row.integer();
      told.origin = row.text();
      told.parents = parents[candidate];
      told.state = row.text();
      told.n_hat = row.integer();
      told.attention_policy = row.text();
      told.attention_value = row.real();
      told.factors_digest = row.text();
      told.perplexity = perplexity(row.optional_real());
      told.heldout_perplexity = perplexity(row.optional_real());
      told.lambda = row.text();
      told.told_at = row.integer();
      const std::int64_t rung = row.integer();
      const DocumentSums& sum = sums[candidate];
      told.seconds = sum.timing.seconds;
      told.workers = static_cast<std::int64_t>(sum.timing.workers.size());
      if (told.state == column_text(CandidateState::kTold)) {
        told.kind = fmt::format("{}", fmt::join(sum.kinds, ","));
        told.documents = sum.documents;
        told.document_passes = sum.document_passes;
        told.nll_sum = sum.nll_sum;
        told.scored_tokens = sum.scored_tokens;
      } else {
        told.perplexity.reset();
      }
      std::optional<double>& best_so_far = best[{told.stage, rung}];
      if (told.perplexity) best_so_far = std::min(best_so_far.value_or(*told.perplexity), *told.perplexity);
      told.best_so_far = best_so_far;
      history.push_back(std::move(told));
    }
    return history;
  });
}

std::optional<BestFactors> StoreReader::best(std::optional<std::string_view> stage) const {
  return implementation_->consistently([&](const SQLite::Database& database) -> std::optional<BestFactors> {
    require_stage(database, stage);
    RowReader row(
        database,
        "SELECT v_best.stage, v_best.target_length, final, k, origin, search_perplexity, heldout_perplexity, n_hat,"
        " attention_policy, attention_factor, lambda, lambda_grid, steps_per_unit, factors, none_heldout_perplexity,"
        " pi_heldout_perplexity, ntk_heldout_perplexity, yarn_heldout_perplexity,"
        " (SELECT count(*) FROM stage_document WHERE stage_document.stage = stage.id AND purpose = 'heldout')"
        " FROM v_best JOIN stage ON stage.name = v_best.stage WHERE ?1 IS NULL OR stage.name = ?1"
        " ORDER BY final DESC, stage.id DESC LIMIT 1");
    bind_stage(row, stage);
    if (!row.next()) return std::nullopt;
    BestFactors best;
    best.stage = row.text();
    best.target_length = row.integer();
    best.final = row.integer() != 0;
    best.index = row.integer();
    best.origin = row.text();
    best.search_perplexity = row.optional_real();
    best.heldout_perplexity = row.optional_real();
    best.factors.n_hat = row.integer();
    best.factors.attention.policy = parse_attention_policy(row.text());
    best.factors.attention.value = row.real();
    best.factors.lambda = doubles_from_json(row.text());
    if (const auto grid = row.optional_text()) best.factors.grid_steps = integers_from_json(*grid);
    best.factors.steps_per_unit = static_cast<std::int32_t>(row.integer());
    best.factors_digest = row.text();
    best.baselines.none = row.optional_real();
    best.baselines.pi = row.optional_real();
    best.baselines.ntk = row.optional_real();
    best.baselines.yarn = row.optional_real();
    best.heldout_documents = row.integer();
    return best;
  });
}

std::vector<DocumentResult> StoreReader::document_results(std::string_view stage) const {
  return implementation_->consistently([&](const SQLite::Database& database) {
    require_stage(database, stage);
    RowReader row(database,
                  "SELECT candidate.k, document.name, evaluation.nll_sum, evaluation.scored_tokens"
                  " FROM candidate JOIN stage ON stage.id = candidate.stage"
                  " JOIN candidate_evaluation ON candidate_evaluation.candidate = candidate.id"
                  " JOIN evaluation ON evaluation.id = candidate_evaluation.evaluation"
                  " JOIN document ON document.digest = evaluation.document"
                  " WHERE candidate.role = 'search' AND candidate.state = 'told' AND stage.name = ?1"
                  "  AND evaluation.state = 'scored'"
                  " ORDER BY candidate.k, candidate_evaluation.position");
    bind_stage(row, stage);
    std::vector<DocumentResult> results;
    while (row.next()) {
      DocumentResult result;
      result.index = row.integer();
      result.document = row.text();
      result.nll_sum = row.real();
      result.scored_tokens = row.integer();
      results.push_back(std::move(result));
    }
    return results;
  });
}

std::vector<BaselineFactors> StoreReader::baseline_factors(std::string_view stage) const {
  return implementation_->consistently([&](const SQLite::Database& database) {
    require_stage(database, stage);
    RowReader row(database,
                  "SELECT candidate.origin, factors.lambda FROM candidate JOIN stage ON stage.id = candidate.stage"
                  " JOIN factors ON factors.digest = candidate.factors"
                  " WHERE candidate.role = 'baseline' AND candidate.origin IN ('none', 'pi', 'ntk', 'yarn')"
                  "  AND stage.name = ?1 ORDER BY candidate.k");
    bind_stage(row, stage);
    std::vector<BaselineFactors> baselines;
    while (row.next()) {
      std::string origin = row.text();
      baselines.push_back({std::move(origin), doubles_from_json(row.text())});
    }
    return baselines;
  });
}

std::vector<JudgedStage> StoreReader::judged_stages() const {
  return implementation_->consistently(read_judged_stages);
}

std::vector<LeaseSpan> StoreReader::timeline() const {
  return implementation_->consistently([](const SQLite::Database& database) {
    RowReader row(database,
                  "SELECT lease.worker, stage.name, candidate.role, candidate.origin, candidate.k, document.name,"
                  " lease.granted_at, lease.ended_at, lease.end_reason,"
                  " CASE lease.end_reason WHEN 'scored' THEN evaluation.seconds END"
                  " FROM lease JOIN evaluation ON evaluation.id = lease.evaluation"
                  " JOIN document ON document.digest = evaluation.document"
                  " JOIN candidate ON candidate.id = ifnull("
                  "  (SELECT min(candidate) FROM candidate_evaluation"
                  "   WHERE candidate_evaluation.evaluation = evaluation.id),"
                  "  (SELECT needing.id FROM candidate AS needing JOIN stage ON stage.id = needing.stage"
                  "   WHERE needing.factors = evaluation.factors"
                  "    AND (stage.target_length = evaluation.length OR stage.original_length = evaluation.length)"
                  "   ORDER BY needing.id LIMIT 1))"
                  " JOIN stage ON stage.id = candidate.stage"
                  " ORDER BY lease.worker, lease.granted_at, lease.evaluation, lease.epoch");
    std::vector<LeaseSpan> spans;
    while (row.next()) {
      LeaseSpan span;
      span.worker = row.text();
      span.stage = row.text();
      span.role = row.text();
      span.origin = row.text();
      span.index = row.integer();
      span.document = row.text();
      span.granted_at = row.integer();
      span.ended_at = row.integer();
      span.end_reason = row.text();
      span.seconds = row.optional_real();
      spans.push_back(std::move(span));
    }
    return spans;
  });
}

}  // namespace longrope

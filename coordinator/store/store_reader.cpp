#include "coordinator/store/store_reader.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "coordinator/store/column_text.h"
#include "coordinator/store/database_file.h"
#include "coordinator/store/migrations.h"

namespace longrope {
namespace {

std::string text(const SQLite::Column& column) { return column.isNull() ? "" : column.getString(); }
std::int64_t integer(const SQLite::Column& column) { return column.isNull() ? 0 : column.getInt64(); }
std::optional<std::int64_t> optional_integer(const SQLite::Column& column) {
  return column.isNull() ? std::nullopt : std::optional(column.getInt64());
}
std::optional<double> optional_real(const SQLite::Column& column) {
  return column.isNull() ? std::nullopt : std::optional(column.getDouble());
}
std::optional<double> perplexity(const SQLite::Column& mean_nll) {
  return mean_nll.isNull() ? std::nullopt : std::optional(std::exp(mean_nll.getDouble()));
}

struct Timing {
  double seconds = 0.0;
  std::set<std::string> workers;
};

/// Search documents of one candidate, added in document order so that the sums have the same bits in every database.
struct DocumentSums {
  std::string kind;
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
    " JOIN stage_document ON stage_document.stage = stage.id AND stage_document.purpose = 'search'"
    " JOIN evaluation ON evaluation.factors = candidate.factors AND evaluation.document = stage_document.document"
    "  AND evaluation.length = stage.target_length"
    " WHERE candidate.role = 'search' AND candidate.state IN ('told', 'quarantined') AND (?1 IS NULL OR stage.name = "
    "?1)"
    "  AND evaluation.kind = 'score' AND evaluation.state = 'scored'"
    " ORDER BY candidate.id, stage_document.position";

constexpr const char* kHistory =
    "SELECT candidate.id, stage.name, candidate.k, candidate.origin, candidate.state, factors.n_hat,"
    " candidate.attention_policy, factors.attention_factor, candidate.factors, candidate.search_mean_nll,"
    " candidate.heldout_mean_nll, factors.lambda, candidate.told_at"
    " FROM candidate JOIN stage ON stage.id = candidate.stage JOIN factors ON factors.digest = candidate.factors"
    " WHERE candidate.role = 'search' AND candidate.state IN ('told', 'quarantined') AND (?1 IS NULL OR stage.name = "
    "?1)"
    " ORDER BY stage.id, candidate.k";

constexpr const char* kParents =
    "SELECT candidate_parent.candidate, parent.k FROM candidate_parent"
    " JOIN candidate AS parent ON parent.id = candidate_parent.parent"
    " ORDER BY candidate_parent.candidate, candidate_parent.position";

void bind_stage(SQLite::Statement& statement, std::optional<std::string_view> stage) {
  if (stage) statement.bind(1, std::string(*stage));
}

std::map<std::int64_t, DocumentSums> search_sums(const SQLite::Database& database,
                                                 std::optional<std::string_view> stage) {
  SQLite::Statement row(database, kSearchScores);
  bind_stage(row, stage);
  std::map<std::int64_t, DocumentSums> sums;
  while (row.executeStep()) {
    DocumentSums& sum = sums[row.getColumn(0).getInt64()];
    ++sum.documents;
    sum.document_passes += row.getColumn(1).getDouble();
    sum.nll_sum += row.getColumn(2).getDouble();
    sum.scored_tokens += row.getColumn(3).getInt64();
    sum.timing.seconds += row.getColumn(4).getDouble();
    sum.timing.workers.insert(row.getColumn(5).getString());
    sum.kind = row.getColumn(6).getString();
  }
  return sums;
}

void require_stage(const SQLite::Database& database, std::optional<std::string_view> stage) {
  if (!stage) return;
  std::vector<std::string> names;
  SQLite::Statement row(database, "SELECT name FROM stage ORDER BY id");
  while (row.executeStep()) names.push_back(row.getColumn(0).getString());
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
    SQLite::Statement row(database,
                          "SELECT name, seed, model_name, model_digest, dtype, angles, threads_per_worker, config_file,"
                          " software_version FROM run");
    if (!row.executeStep()) {
      throw InputError(fmt::format("the database holds no search yet: {}", implementation_->file.string()));
    }
    int column = 0;
    RunInfo run;
    run.name = text(row.getColumn(column++));
    run.seed = std::stoull(text(row.getColumn(column++)));
    run.model_name = text(row.getColumn(column++));
    run.model_digest = text(row.getColumn(column++));
    run.dtype = text(row.getColumn(column++));
    run.angles = text(row.getColumn(column++));
    run.threads_per_worker = integer(row.getColumn(column++));
    run.config_file = text(row.getColumn(column++));
    run.software_version = text(row.getColumn(column++));
    return run;
  });
}

std::vector<StageProgress> StoreReader::progress() const {
  return implementation_->consistently([](const SQLite::Database& database) {
    SQLite::Statement row(
        database,
        "SELECT name, target_length, state, told, quarantined, open, budget, evaluations_pending, evaluations_leased,"
        " evaluations_scored, evaluations_failed, document_passes, best_search_perplexity, best_k, winner_k, "
        "end_reason,"
        " end_detail, active_seconds FROM v_progress");
    std::vector<StageProgress> stages;
    while (row.executeStep()) {
      int column = 0;
      StageProgress stage;
      stage.name = text(row.getColumn(column++));
      stage.target_length = integer(row.getColumn(column++));
      stage.state = text(row.getColumn(column++));
      stage.told = integer(row.getColumn(column++));
      stage.quarantined = integer(row.getColumn(column++));
      stage.open = integer(row.getColumn(column++));
      stage.budget = integer(row.getColumn(column++));
      stage.evaluations_pending = integer(row.getColumn(column++));
      stage.evaluations_leased = integer(row.getColumn(column++));
      stage.evaluations_scored = integer(row.getColumn(column++));
      stage.evaluations_failed = integer(row.getColumn(column++));
      stage.document_passes = row.getColumn(column++).getDouble();
      stage.best_search_perplexity = optional_real(row.getColumn(column++));
      stage.best_index = optional_integer(row.getColumn(column++));
      stage.winner_index = optional_integer(row.getColumn(column++));
      stage.end_reason = text(row.getColumn(column++));
      stage.end_detail = text(row.getColumn(column++));
      stage.active_seconds = row.getColumn(column++).getDouble();
      stages.push_back(std::move(stage));
    }
    return stages;
  });
}

std::vector<KindCost> StoreReader::costs() const {
  return implementation_->consistently([](const SQLite::Database& database) {
    SQLite::Statement row(database,
                          "SELECT kind, count(*), sum(state = 'scored'),"
                          " sum(CASE state WHEN 'scored' THEN cost_passes ELSE 0.0 END)"
                          " FROM evaluation GROUP BY kind ORDER BY kind");
    std::vector<KindCost> costs;
    while (row.executeStep()) {
      costs.push_back(
          {text(row.getColumn(0)), integer(row.getColumn(1)), integer(row.getColumn(2)), row.getColumn(3).getDouble()});
    }
    return costs;
  });
}

std::vector<WorkerStatus> StoreReader::workers() const {
  return implementation_->consistently([](const SQLite::Database& database) {
    SQLite::Statement row(
        database,
        "SELECT v_workers.id, v_workers.state, v_workers.host, v_workers.device, v_workers.threads,"
        " leases, v_workers.results, v_workers.failures, v_workers.seconds, worker.last_seen_at,"
        " v_workers.detail FROM v_workers JOIN worker ON worker.id = v_workers.id ORDER BY worker.id");
    std::vector<WorkerStatus> workers;
    while (row.executeStep()) {
      int column = 0;
      WorkerStatus worker;
      worker.id = text(row.getColumn(column++));
      worker.state = text(row.getColumn(column++));
      worker.host = text(row.getColumn(column++));
      worker.device = text(row.getColumn(column++));
      worker.threads = integer(row.getColumn(column++));
      worker.leases = integer(row.getColumn(column++));
      worker.results = integer(row.getColumn(column++));
      worker.failures = integer(row.getColumn(column++));
      worker.seconds = row.getColumn(column++).getDouble();
      worker.last_seen_at = integer(row.getColumn(column++));
      worker.detail = text(row.getColumn(column++));
      workers.push_back(std::move(worker));
    }
    return workers;
  });
}

std::vector<HistoryRow> StoreReader::history(std::optional<std::string_view> stage) const {
  return implementation_->consistently([&](const SQLite::Database& database) {
    require_stage(database, stage);
    std::map<std::int64_t, DocumentSums> sums = search_sums(database, stage);
    std::map<std::int64_t, std::vector<std::int64_t>> parents;
    SQLite::Statement edge(database, kParents);
    while (edge.executeStep()) parents[edge.getColumn(0).getInt64()].push_back(edge.getColumn(1).getInt64());

    SQLite::Statement row(database, kHistory);
    bind_stage(row, stage);
    std::vector<HistoryRow> history;
    while (row.executeStep()) {
      int column = 0;
      const std::int64_t candidate = row.getColumn(column++).getInt64();
      HistoryRow told;
      told.stage = text(row.getColumn(column++));
      told.index = integer(row.getColumn(column++));
      told.origin = text(row.getColumn(column++));
      told.parents = parents[candidate];
      told.state = text(row.getColumn(column++));
      told.n_hat = integer(row.getColumn(column++));
      told.attention_policy = text(row.getColumn(column++));
      told.attention_value = row.getColumn(column++).getDouble();
      told.factors_digest = text(row.getColumn(column++));
      told.perplexity = perplexity(row.getColumn(column++));
      told.heldout_perplexity = perplexity(row.getColumn(column++));
      told.lambda = text(row.getColumn(column++));
      told.told_at = integer(row.getColumn(column++));
      const DocumentSums& sum = sums[candidate];
      told.seconds = sum.timing.seconds;
      told.workers = static_cast<std::int64_t>(sum.timing.workers.size());
      if (told.state == column_text(CandidateState::kTold)) {
        told.kind = sum.kind;
        told.documents = sum.documents;
        told.document_passes = sum.document_passes;
        told.nll_sum = sum.nll_sum;
        told.scored_tokens = sum.scored_tokens;
      } else {
        told.perplexity.reset();
      }
      const bool same_stage = !history.empty() && history.back().stage == told.stage;
      told.best_so_far = same_stage ? history.back().best_so_far : std::nullopt;
      if (told.perplexity) {
        told.best_so_far = std::min(told.best_so_far.value_or(*told.perplexity), *told.perplexity);
      }
      history.push_back(std::move(told));
    }
    return history;
  });
}

std::optional<BestFactors> StoreReader::best(std::optional<std::string_view> stage) const {
  return implementation_->consistently([&](const SQLite::Database& database) -> std::optional<BestFactors> {
    require_stage(database, stage);
    SQLite::Statement row(
        database,
        "SELECT v_best.stage, v_best.target_length, final, k, origin, search_perplexity, heldout_perplexity, n_hat,"
        " attention_policy, attention_factor, lambda, lambda_grid, steps_per_unit, factors, none_heldout_perplexity,"
        " pi_heldout_perplexity, ntk_heldout_perplexity, yarn_heldout_perplexity,"
        " (SELECT count(*) FROM stage_document WHERE stage_document.stage = stage.id AND purpose = 'heldout')"
        " FROM v_best JOIN stage ON stage.name = v_best.stage WHERE ?1 IS NULL OR stage.name = ?1"
        " ORDER BY final DESC, stage.id DESC LIMIT 1");
    bind_stage(row, stage);
    if (!row.executeStep()) return std::nullopt;
    int column = 0;
    BestFactors best;
    best.stage = text(row.getColumn(column++));
    best.target_length = integer(row.getColumn(column++));
    best.final = integer(row.getColumn(column++)) != 0;
    best.index = integer(row.getColumn(column++));
    best.origin = text(row.getColumn(column++));
    best.search_perplexity = optional_real(row.getColumn(column++));
    best.heldout_perplexity = optional_real(row.getColumn(column++));
    best.factors.n_hat = integer(row.getColumn(column++));
    best.factors.attention.policy = parse_attention_policy(text(row.getColumn(column++)));
    best.factors.attention.value = row.getColumn(column++).getDouble();
    best.factors.lambda = doubles_from_json(text(row.getColumn(column++)));
    if (const SQLite::Column grid = row.getColumn(column++); !grid.isNull()) {
      best.factors.grid_steps = integers_from_json(grid.getString());
    }
    best.factors.steps_per_unit = row.getColumn(column++).getInt();
    best.factors_digest = text(row.getColumn(column++));
    best.baselines.none = optional_real(row.getColumn(column++));
    best.baselines.pi = optional_real(row.getColumn(column++));
    best.baselines.ntk = optional_real(row.getColumn(column++));
    best.baselines.yarn = optional_real(row.getColumn(column++));
    best.heldout_documents = integer(row.getColumn(column++));
    return best;
  });
}

}  // namespace longrope

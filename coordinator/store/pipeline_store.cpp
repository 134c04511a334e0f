#include "coordinator/store/pipeline_store.h"

#include "common/error.h"
#include "coordinator/store/column_text.h"
#include "coordinator/store/database_file.h"
#include "coordinator/store/migrations.h"
#include "coordinator/store/row_reader.h"
#include "coordinator/store/writer_lock.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <SQLiteCpp/VariadicBind.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace longrope {
namespace {

std::vector<PipelineStageRecord> read_stages(const SQLite::Database& database) {
  RowReader row(database,
                "SELECT id, name, kind, settings, model, factors, state, inputs, output, output_digest, detail,"
                " active_milliseconds, started_at, ended_at FROM pipeline_stage ORDER BY id");
  std::vector<PipelineStageRecord> stages;
  while (row.next()) {
    PipelineStageRecord& stage = stages.emplace_back();
    stage.id = row.integer();
    stage.name = row.text();
    stage.kind = parse_stage_kind(row.text());
    stage.settings = row.text();
    stage.model = row.text();
    stage.factors = row.text();
    stage.state = row.word<PipelineStageState>();
    stage.inputs = nlohmann::json::parse(row.text()).get<std::map<std::string, std::string>>();
    stage.output = row.text();
    stage.output_digest = row.text();
    stage.detail = row.text();
    stage.active_milliseconds = row.integer();
    stage.started_at = row.integer();
    stage.ended_at = row.integer();
  }
  return stages;
}

void upsert(SQLite::Database& database, const PipelineStageRecord& stage) {
  SQLite::Statement row(
      database,
      "INSERT INTO pipeline_stage (id, name, kind, settings, model, factors, state, inputs, output, output_digest,"
      " detail, active_milliseconds, started_at, ended_at)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, 0), nullif(?, 0))"
      " ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, settings = excluded.settings,"
      " model = excluded.model, factors = excluded.factors, state = excluded.state, inputs = excluded.inputs,"
      " output = excluded.output, output_digest = excluded.output_digest, detail = excluded.detail,"
      " active_milliseconds = excluded.active_milliseconds, started_at = excluded.started_at,"
      " ended_at = excluded.ended_at");
  SQLite::bind(row, stage.id, stage.name, std::string(to_string(stage.kind)), stage.settings, stage.model,
               stage.factors, std::string(to_string(stage.state)), nlohmann::json(stage.inputs).dump(),
               stage.output.string(), stage.output_digest, stage.detail, stage.active_milliseconds, stage.started_at,
               stage.ended_at);
  row.exec();
}

bool has_begun(const PipelineStageRecord& stage) {
  return stage.state != PipelineStageState::kPending && stage.state != PipelineStageState::kFailed;
}

/// `given` with what the database knows of the stages that have begun.
std::vector<PipelineStageRecord> adopted(const std::vector<PipelineStageRecord>& stored,
                                         std::vector<PipelineStageRecord> given, const std::filesystem::path& file) {
  for (const PipelineStageRecord& known : stored) {
    const auto stage = std::ranges::find(given, known.name, &PipelineStageRecord::name);
    if (stage != given.end() && stage->settings == known.settings) {
      const std::int64_t id = stage->id;
      *stage = known;
      stage->id = id;
    } else if (has_begun(known)) {
      throw InputError(fmt::format(
          "a stage that has begun must keep its settings: {} began with {}, now {} ({}); longrope stage retry {} "
          "begins it anew",
          known.name, known.settings, stage == given.end() ? "it is gone" : stage->settings, file.string(),
          known.name));
    }
  }
  return given;
}

template <typename Action>
auto reporting(const std::filesystem::path& file, const char* what, Action&& action) {
  try {
    return action();
  } catch (const SQLite::Exception& failure) {
    throw Error(fmt::format("cannot {} the pipeline's database: {} ({})", what, failure.what(), file.string()));
  } catch (const nlohmann::json::exception& failure) {
    throw Error(fmt::format("cannot {} the pipeline's database: {} ({})", what, failure.what(), file.string()));
  }
}

std::filesystem::path checked(std::filesystem::path file) {
  require_own_or_empty_file(file, kPipelineDatabase);
  return file;
}

}  // namespace

std::string_view to_string(PipelineStageState state) { return column_text(state); }

bool is_pipeline(const std::filesystem::path& file) { return application_id(file) == kPipelineDatabase.application_id; }

PipelineRecord read_pipeline_record(const std::filesystem::path& file) {
  require_own_or_empty_file(file, kPipelineDatabase);
  const std::unique_ptr<SQLite::Database> database = open_for_reading(file);
  require_own_and_sound(*database, file, kPipelineDatabase);
  return reporting(file, "read", [&] {
    const int latest = embedded_pipeline_migrations().back().version;
    if (const int version = schema_version(*database); version != latest) {
      throw InputError(fmt::format("the schema of a pipeline's database must be of version {}: {} ({})", latest,
                                   version, file.string()));
    }
    PipelineRecord pipeline;
    RowReader row(*database, "SELECT name, config_file, config_text, settings, software_version FROM pipeline");
    if (row.next()) {
      pipeline.name = row.text();
      pipeline.config_file = row.text();
      pipeline.config_text = row.text();
      pipeline.settings = row.text();
      pipeline.software_version = row.text();
    }
    pipeline.stages = read_stages(*database);
    return pipeline;
  });
}

struct PipelineStore::Implementation {
  explicit Implementation(const std::filesystem::path& path)
      : file(checked(path)), lock(path), database(open_for_writing(path)) {
    require_own_and_sound(*database, file, kPipelineDatabase);
    migrate(*database, file, embedded_pipeline_migrations(), kPipelineDatabase);
    use_write_ahead_log(*database, file);
    stages = reporting(file, "read", [&] { return read_stages(*database); });
  }

  void adopt(const PipelineRecord& pipeline) {
    RowReader row(*database, "SELECT name, settings FROM pipeline");
    if (row.next()) {
      require_same("name", pipeline.name, row.text());  // outputs are called by it
      require_same("settings", pipeline.settings, row.text());
    }
    std::vector<PipelineStageRecord> next = adopted(stages, pipeline.stages, file);
    SQLite::Transaction transaction(*database, SQLite::TransactionBehavior::IMMEDIATE);
    SQLite::Statement run(*database,
                          "INSERT INTO pipeline (id, name, config_file, config_text, settings, software_version)"
                          " VALUES (1, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET config_file ="
                          " excluded.config_file, config_text = excluded.config_text");
    SQLite::bind(run, pipeline.name, pipeline.config_file, pipeline.config_text, pipeline.settings,
                 pipeline.software_version);
    run.exec();
    database->exec("DELETE FROM pipeline_stage");  // their order may be another one
    for (const PipelineStageRecord& stage : next) upsert(*database, stage);
    transaction.commit();
    stages = std::move(next);
  }

  void require_same(const char* what, const std::string& here, const std::string& stored) const {
    if (here == stored) return;
    throw InputError(
        fmt::format("a database continues the pipeline it was created for: {} is {} here but {} in the "
                    "database ({}); start another in a new file",
                    what, here, stored, file.string()));
  }

  std::filesystem::path file;
  WriterLock lock;
  std::unique_ptr<SQLite::Database> database;
  std::vector<PipelineStageRecord> stages;
};

PipelineStore::PipelineStore(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) throw InputError(fmt::format("no such database: {}", file.string()));
  implementation_ = reporting(file, "open", [&] { return std::make_unique<Implementation>(file); });
}

PipelineStore::PipelineStore(const std::filesystem::path& file, const PipelineRecord& pipeline) {
  implementation_ = reporting(file, "open", [&] { return std::make_unique<Implementation>(file); });
  reporting(file, "write to", [&] { implementation_->adopt(pipeline); });
}

PipelineStore::~PipelineStore() = default;

const std::vector<PipelineStageRecord>& PipelineStore::stages() const { return implementation_->stages; }

const PipelineStageRecord& stage_named(const std::vector<PipelineStageRecord>& stages, std::string_view name) {
  const auto found = std::ranges::find(stages, name, &PipelineStageRecord::name);
  if (found != stages.end()) return *found;
  std::vector<std::string> names;
  for (const PipelineStageRecord& stage : stages) names.push_back(stage.name);
  throw InputError(fmt::format("a stage must be among {}: {}", fmt::join(names, ", "), name));
}

void PipelineStore::write(const PipelineStageRecord& stage) {
  reporting(implementation_->file, "write to", [&] { upsert(*implementation_->database, stage); });
  *std::ranges::find(implementation_->stages, stage.name, &PipelineStageRecord::name) = stage;
}

}  // namespace longrope

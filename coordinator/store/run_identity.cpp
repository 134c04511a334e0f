#include "coordinator/store/run_identity.h"

#include "common/error.h"
#include "coordinator/store/column_text.h"
#include "coordinator/store/record_writer.h"

#include <SQLiteCpp/VariadicBind.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace longrope {
namespace {

void insert_documents(SQLite::Database& database, const std::vector<DocumentRecord>& documents) {
  SQLite::Statement document(
      database,
      "INSERT INTO document (digest, name, file, tokens) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING");
  SQLite::Statement use(
      database,
      "INSERT INTO stage_document (stage, purpose, position, document, scored_tokens) VALUES (?, ?, ?, ?, ?)");
  for (const DocumentRecord& record : documents) {
    SQLite::bind(document, record.digest, record.name, record.file, record.tokens);
    document.exec();
    document.reset();
    SQLite::bind(use, record.stage, std::string(column_text(record.purpose)), record.order, record.digest,
                 record.scored_tokens);
    use.exec();
    use.reset();
  }
}

void insert_run(SQLite::Database& database, const RunRecord& run) {
  SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
  SQLite::Statement row(database,
                        "INSERT INTO run (id, name, seed, config_file, config_text, trajectory_settings, model_name,"
                        " model_digest, dtype, angles, threads_per_worker, software_version)"
                        " VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  SQLite::bind(row, run.name, std::to_string(run.seed), run.config_file, run.config_text, run.trajectory_settings,
               run.model_name, run.model_digest, run.dtype, run.angles, run.threads_per_worker, run.software_version);
  row.exec();
  RecordWriter writer(database);
  for (const StageRecord& stage : run.stages) writer.write(stage);
  insert_documents(database, run.documents);
  transaction.commit();
}

struct Difference {
  std::string path;  // "stages[0].search.lag"
  std::string stored;
  std::string given;
};

std::string shown(const nlohmann::json* value) {
  constexpr std::size_t kMaxShownBytes = 200;
  if (value == nullptr) return "absent";
  std::string text = value->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMaxShownBytes) text = text.substr(0, kMaxShownBytes) + "…";
  return text;
}

std::optional<Difference> first_difference(const nlohmann::json& stored, const nlohmann::json& given,
                                           const std::string& path) {
  if (stored == given) return std::nullopt;
  if (stored.is_object() && given.is_object()) {
    nlohmann::json keys = stored;
    keys.update(given);
    for (const auto& item : keys.items()) {
      const std::string inner = path.empty() ? item.key() : path + "." + item.key();
      const auto in_stored = stored.find(item.key());
      const auto in_given = given.find(item.key());
      if (in_stored == stored.end()) return Difference{inner, shown(nullptr), shown(&*in_given)};
      if (in_given == given.end()) return Difference{inner, shown(&*in_stored), shown(nullptr)};
      if (auto difference = first_difference(*in_stored, *in_given, inner)) return difference;
    }
  }
  if (stored.is_array() && given.is_array()) {
    for (std::size_t i = 0; i < std::max(stored.size(), given.size()); ++i) {
      const std::string inner = fmt::format("{}[{}]", path, i);
      if (i >= stored.size()) return Difference{inner, shown(nullptr), shown(&given[i])};
      if (i >= given.size()) return Difference{inner, shown(&stored[i]), shown(nullptr)};
      if (auto difference = first_difference(stored[i], given[i], inner)) return difference;
    }
  }
  return Difference{path, shown(&stored), shown(&given)};
}

/// Identity as one JSON value, so that one comparison finds and names every difference.
nlohmann::json identity(const std::string& seed, const std::string& trajectory_settings,
                        const std::string& model_digest, const std::string& dtype, const std::string& angles) {
  return {{"seed", seed},
          {"model digest", model_digest},
          {"dtype", dtype},
          {"angles", angles},
          {"settings", nlohmann::json::parse(trajectory_settings)}};
}

nlohmann::json stored_stages(SQLite::Database& database) {
  nlohmann::json stages = nlohmann::json::array();
  SQLite::Statement row(database, "SELECT name, target_length, budget FROM stage ORDER BY id");
  while (row.executeStep()) {
    stages.push_back({{"name", row.getColumn(0).getString()},
                      {"target_length", row.getColumn(1).getInt64()},
                      {"budget", row.getColumn(2).getInt64()}});
  }
  return stages;
}

nlohmann::json given_stages(const RunRecord& run) {
  nlohmann::json stages = nlohmann::json::array();
  for (const StageRecord& stage : run.stages) {
    stages.push_back({{"name", stage.name}, {"target_length", stage.target_length}, {"budget", stage.budget}});
  }
  return stages;
}

std::string document_key(std::int64_t stage, std::string_view purpose, std::int64_t order) {
  return fmt::format("stage {:04} {} document {:04}", stage, purpose, order);
}

nlohmann::json stored_documents(SQLite::Database& database) {
  nlohmann::json documents = nlohmann::json::object();
  SQLite::Statement row(database, "SELECT stage, purpose, position, document, scored_tokens FROM stage_document");
  while (row.executeStep()) {
    documents[document_key(row.getColumn(0).getInt64(), row.getColumn(1).getString(), row.getColumn(2).getInt64())] = {
        {"digest", row.getColumn(3).getString()}, {"scored_tokens", row.getColumn(4).getInt64()}};
  }
  return documents;
}

nlohmann::json given_documents(const RunRecord& run) {
  nlohmann::json documents = nlohmann::json::object();
  for (const DocumentRecord& document : run.documents) {
    documents[document_key(document.stage, column_text(document.purpose), document.order)] = {
        {"digest", document.digest}, {"scored_tokens", document.scored_tokens}};
  }
  return documents;
}

}  // namespace

void adopt_run(SQLite::Database& database, const RunRecord& run, const std::filesystem::path& file) {
  SQLite::Statement row(database, "SELECT seed, trajectory_settings, model_digest, dtype, angles FROM run");
  if (!row.executeStep()) {
    insert_run(database, run);
    return;
  }
  nlohmann::json stored =
      identity(row.getColumn(0).getString(), row.getColumn(1).getString(), row.getColumn(2).getString(),
               row.getColumn(3).getString(), row.getColumn(4).getString());
  nlohmann::json given =
      identity(std::to_string(run.seed), run.trajectory_settings, run.model_digest, run.dtype, run.angles);
  stored["stages"] = stored_stages(database);
  given["stages"] = given_stages(run);
  stored["documents"] = stored_documents(database);
  given["documents"] = given_documents(run);
  if (const auto difference = first_difference(stored, given, "")) {
    throw InputError(fmt::format(
        "a database continues the search it was created for: {} is {} here but {} in the database ({}); start another "
        "search in a new file",
        difference->path, difference->given, difference->stored, file.string()));
  }
}

}  // namespace longrope

#pragma once

#include "coordinator/core/records.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace longrope {

/// What a stage scores a document for. Numbers are not stored; the words are (schemas/database.md).
enum class DocumentPurpose { kSearch, kHeldout, kFinal };

/// A document of the search as the database knows it (tokens stay in the documents file).
struct DocumentRecord {
  std::string digest;
  std::string name;
  std::string file;
  std::int64_t tokens = 0;
  std::int64_t stage = 0;  // id of the stage that uses it
  DocumentPurpose purpose = DocumentPurpose::kSearch;
  std::int64_t order = 0;          // within (stage, purpose)
  std::int64_t scored_tokens = 0;  // tokens that count, within the stage's target length
};

/// What identifies a search; written once, checked on every start.
struct RunRecord {
  std::string name;
  std::uint64_t seed = 0;
  std::string config_file;
  std::string config_text;
  std::string trajectory_settings;  // canonical JSON; another value means another search
  std::string model_name;
  std::string model_digest;
  std::string dtype;
  std::string angles;
  std::int64_t threads_per_worker = 1;
  std::string software_version;
  std::vector<DocumentRecord> documents;
  std::vector<StageRecord> stages;
};

/// The one writer of a search database: SQLite in WAL mode with synchronous=FULL. Not thread-safe: the coordinator's
/// loop owns it. Everything else reads through StoreReader.
class Store {
 public:
  /// Opens or creates the database and takes the writer's lock (`FILE.lock`, released by the kernel if the process
  /// dies; the lock file stays). Migrates an older schema after a backup (`FILE.backup-vN`). Throws InputError, leaving
  /// the search as it was: the file is not one of our databases (then there is no lock file either), another
  /// coordinator holds the lock, the schema is newer, or it is a search with other trajectory settings, model or
  /// documents (the message says which). Throws Error when SQLite fails.
  Store(const std::filesystem::path& file, const RunRecord& run);
  ~Store();

  [[nodiscard]] Snapshot load() const;

  /// Applies all writes in one transaction; durable when it returns. Throws Error when it cannot (disk full,
  /// read-only): nothing was applied, and the same call may be tried again. Throws std::logic_error for a row that the
  /// schema refuses, or a number that is not finite: a mistake of the caller, and trying again would not help.
  void apply(std::span<const Write> writes);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace longrope

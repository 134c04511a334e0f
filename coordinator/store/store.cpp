#include "coordinator/store/store.h"

#include "common/error.h"
#include "coordinator/store/database_file.h"
#include "coordinator/store/migrations.h"
#include "coordinator/store/record_writer.h"
#include "coordinator/store/run_identity.h"
#include "coordinator/store/snapshot.h"
#include "coordinator/store/writer_lock.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sqlite3.h>

#include <stdexcept>

namespace longrope {
namespace {

/// Refused before a lock file or anything else appears beside a file that is not ours.
std::filesystem::path checked(std::filesystem::path file) {
  require_own_or_empty_file(file);
  return file;
}

}  // namespace

struct Store::Implementation {
  explicit Implementation(const std::filesystem::path& path)
      : file(checked(path)), lock(path), database(open_for_writing(path)) {
    require_own_and_sound(*database, file);
    migrate(*database, file, embedded_migrations());
    use_write_ahead_log(*database, file);
    writer.emplace(*database);
  }

  std::filesystem::path file;
  WriterLock lock;
  std::unique_ptr<SQLite::Database> database;
  std::optional<RecordWriter> writer;  // its statements go before the database
};

Store::Store(const std::filesystem::path& file, const RunRecord& run) {
  try {
    implementation_ = std::make_unique<Implementation>(file);
    adopt_run(*implementation_->database, run, file);
  } catch (const SQLite::Exception& failure) {
    throw Error(fmt::format("cannot prepare the database: {} ({})", failure.what(), file.string()));
  } catch (const nlohmann::json::exception& failure) {
    throw Error(fmt::format("cannot compare the search's settings with those in the database: {} ({})", failure.what(),
                            file.string()));
  }
}

Store::~Store() = default;

Snapshot Store::load() const {
  try {
    return read_snapshot(*implementation_->database);
  } catch (const SQLite::Exception& failure) {
    throw Error(fmt::format("cannot read the database: {} ({})", failure.what(), implementation_->file.string()));
  }
}

void Store::apply(std::span<const Write> writes) {
  if (writes.empty()) return;
  try {
    SQLite::Transaction transaction(*implementation_->database, SQLite::TransactionBehavior::IMMEDIATE);
    for (const Write& record : writes) implementation_->writer->write(record);
    transaction.commit();
  } catch (const SQLite::Exception& failure) {
    const std::string message = fmt::format("cannot write to the database, nothing was applied: {} ({})",
                                            failure.what(), implementation_->file.string());
    // Trying again helps against a full disk, never against a row that the schema refuses.
    if (failure.getErrorCode() == SQLITE_CONSTRAINT) throw std::logic_error(message);
    throw Error(message);
  } catch (const Error& mistake) {
    // The writer refuses what SQLite would store as NULL; trying again would not help either.
    throw std::logic_error(fmt::format("cannot write to the database, nothing was applied: {} ({})", mistake.what(),
                                       implementation_->file.string()));
  }
}

}  // namespace longrope

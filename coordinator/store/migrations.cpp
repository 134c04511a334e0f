#include "coordinator/store/migrations.h"

#include "common/error.h"
#include "coordinator/store/migration_files.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>
#include <vector>

namespace longrope {
namespace {

void sync_to_disk(const std::filesystem::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int cause = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!synced) throw Error(fmt::format("cannot sync a backup: {} ({})", std::strerror(cause), path.string()));
}

/// Written under another name and renamed, so that a backup is always whole. One left by an earlier attempt is
/// replaced: that attempt changed nothing, so the database still holds all of it.
void back_up(SQLite::Database& database, const std::filesystem::path& backup) {
  const std::filesystem::path unfinished = backup.string() + ".unfinished";
  std::filesystem::remove(unfinished);
  SQLite::Statement vacuum(database, "VACUUM INTO ?");
  vacuum.bind(1, unfinished.string());
  vacuum.exec();
  sync_to_disk(unfinished, O_RDONLY);
  std::filesystem::rename(unfinished, backup);
  sync_to_disk(backup.has_parent_path() ? backup.parent_path() : ".", O_RDONLY | O_DIRECTORY);
}

/// The build has checked that the names are NNNN_name.sql and the numbers 1, 2, … (cmake/EmbedFiles.cmake).
std::vector<Migration> migrations_of(std::span<const EmbeddedFile> files) {
  constexpr std::size_t kDigits = 4;
  std::vector<Migration> migrations;
  for (const EmbeddedFile& file : files) {
    Migration& migration = migrations.emplace_back();
    const std::string_view digits = file.name.substr(0, kDigits);
    std::from_chars(digits.data(), digits.data() + digits.size(), migration.version);
    migration.sql = file.content;
  }
  return migrations;
}

}  // namespace

std::span<const Migration> embedded_migrations() {
  static const std::vector<Migration> kMigrations = migrations_of(migration_files());
  return kMigrations;
}

std::span<const Migration> embedded_pipeline_migrations() {
  static const std::vector<Migration> kMigrations = migrations_of(pipeline_migration_files());
  return kMigrations;
}

std::filesystem::path backup_file(const std::filesystem::path& file, int version) {
  return fmt::format("{}.backup-v{}", file.string(), version);
}

void migrate(SQLite::Database& database, const std::filesystem::path& file, std::span<const Migration> migrations,
             const DatabaseFormat& format) {
  const int current = schema_version(database);
  const int latest = migrations.empty() ? 0 : migrations.back().version;
  if (current > latest) {
    throw InputError(
        fmt::format("the schema must be of version {} or older: {} was written by a newer release, with version {}",
                    latest, file.string(), current));
  }
  if (current == latest) return;
  try {
    if (current > 0) back_up(database, backup_file(file, current));
    SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
    database.exec(fmt::format("PRAGMA application_id = {}", format.application_id));
    for (const Migration& migration : migrations) {
      if (migration.version <= current) continue;
      database.exec(std::string(migration.sql));
      database.exec(fmt::format("PRAGMA user_version = {}", migration.version));
    }
    transaction.commit();
  } catch (const SQLite::Exception& failure) {
    throw Error(fmt::format("cannot migrate from schema version {} to {}: {} ({})", current, latest, failure.what(),
                            file.string()));
  } catch (const std::filesystem::filesystem_error& failure) {
    throw Error(fmt::format("cannot back up before a migration: {}", failure.what()));
  }
}

}  // namespace longrope

#pragma once

#include "coordinator/store/database_file.h"

#include <filesystem>
#include <span>
#include <string_view>

namespace SQLite {
class Database;
}

namespace longrope {

/// One step of the schema: schemas/migrations/NNNN_name.sql, free of BEGIN and COMMIT.
struct Migration {
  int version = 0;  // NNNN; `user_version` of a database that has it
  std::string_view sql;
};

/// All migrations of a search database in version order, from 1; generated at build time from schemas/migrations.
[[nodiscard]] std::span<const Migration> embedded_migrations();
/// All migrations of a pipeline database, from schemas/pipeline_migrations.
[[nodiscard]] std::span<const Migration> embedded_pipeline_migrations();

/// `FILE.backup-vN`, which a migration from version N leaves beside the database.
[[nodiscard]] std::filesystem::path backup_file(const std::filesystem::path& file, int version);

/// Brings `database` (opened from `file`, empty or one of ours) to the last of `migrations` in one transaction; a
/// failure leaves it as it was. A database that is not empty is backed up first. Throws InputError for a newer schema,
/// Error when SQLite fails.
void migrate(SQLite::Database& database, const std::filesystem::path& file, std::span<const Migration> migrations,
             const DatabaseFormat& format = kSearchDatabase);

}  // namespace longrope

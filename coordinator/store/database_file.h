#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

namespace longrope {

/// A kind of database file, told apart by the application_id in its header.
struct DatabaseFormat {
  std::int32_t application_id;
  const char* what;
};
inline constexpr std::int32_t kApplicationId = 0x4C6F5250;  // "LoRP"
inline constexpr DatabaseFormat kSearchDatabase{kApplicationId, "a LongRoPE search"};
inline constexpr DatabaseFormat kPipelineDatabase{0x4C6F5069, "a LongRoPE pipeline"};  // "LoPi"

/// Looks at the header without opening the database, so that a file of somebody else is left exactly as it is.
/// Throws InputError for a file that is not ours. A missing or empty file passes: a writer may make it ours.
void require_own_or_empty_file(const std::filesystem::path& file, const DatabaseFormat& format = kSearchDatabase);

/// Opens the file, and creates it when it is missing. The journal mode stays as it is: see use_write_ahead_log. Throws
/// Error.
[[nodiscard]] std::unique_ptr<SQLite::Database> open_for_writing(const std::filesystem::path& file);
/// Opens the file with SQLITE_OPEN_READONLY. Throws InputError when there is no such file, Error when it cannot be
/// opened.
[[nodiscard]] std::unique_ptr<SQLite::Database> open_for_reading(const std::filesystem::path& file);

/// WAL with synchronous=FULL: a commit survives a power loss and readers never wait. Called when the schema is there:
/// until then the rollback journal keeps the header in the file itself, where require_own_or_empty_file finds it.
void use_write_ahead_log(SQLite::Database& database, const std::filesystem::path& file);

/// Throws InputError when SQLite reads another application_id than ours, or finds damage.
void require_own_and_sound(SQLite::Database& database, const std::filesystem::path& file,
                           const DatabaseFormat& format = kSearchDatabase);

/// The application_id in the header of a SQLite database; nullopt for a missing or empty file and for another format.
[[nodiscard]] std::optional<std::int32_t> application_id(const std::filesystem::path& file);

/// `user_version`; 0 for an empty database.
[[nodiscard]] int schema_version(SQLite::Database& database);

}  // namespace longrope

#include "coordinator/store/database_file.h"

#include <array>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <sqlite3.h>

#include "common/error.h"

namespace longrope {
namespace {

// https://www.sqlite.org/fileformat.html §1.3
constexpr std::size_t kHeaderBytes = 100;
constexpr std::string_view kMagic{"SQLite format 3\0", 16};
constexpr std::size_t kApplicationIdOffset = 68;

constexpr int kBusyMilliseconds = 5000;

std::int32_t big_endian_int32(const char* bytes) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = (value << 8U) | static_cast<std::uint8_t>(bytes[i]);
  return static_cast<std::int32_t>(value);
}

std::unique_ptr<SQLite::Database> open(const std::filesystem::path& file, int flags) {
  try {
    auto database = std::make_unique<SQLite::Database>(file.string(), flags, kBusyMilliseconds);
    database->exec("PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON");
    return database;
  } catch (const SQLite::Exception& failure) {
    throw Error(fmt::format("cannot open the database: {} ({})", failure.what(), file.string()));
  }
}

}  // namespace

void require_own_or_empty_file(const std::filesystem::path& file) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(file, error);
  if (!std::filesystem::exists(status)) return;
  if (!std::filesystem::is_regular_file(status)) {
    throw InputError(fmt::format("a database must be a regular file: {}", file.string()));
  }
  // A journal means that SQLite has to roll the file back before its header says anything.
  if (std::filesystem::exists(file.string() + "-journal", error)) return;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw Error(fmt::format("cannot read the database: {} ({})", std::strerror(errno), file.string()));
  std::array<char, kHeaderBytes> header{};
  stream.read(header.data(), header.size());
  const std::streamsize read = stream.gcount();
  if (read == 0) return;
  const std::string_view found(header.data(), static_cast<std::size_t>(read));
  if (found.size() < kHeaderBytes || !found.starts_with(kMagic)) {
    throw InputError(fmt::format("not a SQLite database: {}", file.string()));
  }
  if (const std::int32_t id = big_endian_int32(header.data() + kApplicationIdOffset); id != kApplicationId) {
    throw InputError(
        fmt::format("not a database of a LongRoPE search: its application_id is {:#010x}, not {:#010x} ({})", id,
                    kApplicationId, file.string()));
  }
}

std::unique_ptr<SQLite::Database> open_for_writing(const std::filesystem::path& file) {
  return open(file, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
}

std::unique_ptr<SQLite::Database> open_for_reading(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) throw InputError(fmt::format("no such database: {}", file.string()));
  return open(file, SQLite::OPEN_READONLY);
}

void use_write_ahead_log(SQLite::Database& database, const std::filesystem::path& file) {
  try {
    const std::string mode = database.execAndGet("PRAGMA journal_mode = WAL").getString();
    if (mode != "wal") {
      throw Error(fmt::format("the file system must allow SQLite's write-ahead log: journal mode stays {} ({})", mode,
                              file.string()));
    }
    database.exec("PRAGMA synchronous = FULL");
  } catch (const SQLite::Exception& failure) {
    throw Error(fmt::format("cannot switch to the write-ahead log: {} ({})", failure.what(), file.string()));
  }
}

void require_own_and_sound(SQLite::Database& database, const std::filesystem::path& file) {
  try {
    if (database.execAndGet("PRAGMA page_count").getInt64() == 0) return;
    const int id = database.execAndGet("PRAGMA application_id").getInt();
    if (id != kApplicationId) {
      throw InputError(
          fmt::format("not a database of a LongRoPE search: its application_id is {:#010x} ({})", id, file.string()));
    }
    const std::string damage = database.execAndGet("PRAGMA quick_check(1)").getString();
    if (damage != "ok") throw InputError(fmt::format("the database is damaged: {} ({})", damage, file.string()));
  } catch (const SQLite::Exception& failure) {
    const int code = failure.getErrorCode();
    const std::string message = fmt::format("cannot read the database: {} ({})", failure.what(), file.string());
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT) throw InputError(message);
    if (code == SQLITE_CANTOPEN || code == SQLITE_READONLY) {
      throw Error(message +
                  ": reading needs permission to create its -wal and -shm files; copy it to a writable folder");
    }
    throw Error(message);
  }
}

int schema_version(SQLite::Database& database) { return database.execAndGet("PRAGMA user_version").getInt(); }

}  // namespace longrope

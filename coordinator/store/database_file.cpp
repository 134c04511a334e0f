#include "coordinator/store/database_file.h"

#include "common/error.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

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

/// The first bytes of a file: all of the header, or less where the file is shorter.
std::string read_header(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw Error(fmt::format("cannot read the database: {} ({})", std::strerror(errno), file.string()));
  std::string header(kHeaderBytes, '\0');
  stream.read(header.data(), static_cast<std::streamsize>(header.size()));
  header.resize(static_cast<std::size_t>(stream.gcount()));
  return header;
}

std::optional<std::int32_t> application_id_of(const std::string& header) {
  if (header.size() < kHeaderBytes || !header.starts_with(kMagic)) return std::nullopt;
  return big_endian_int32(header.data() + kApplicationIdOffset);
}

std::string another_format(std::int32_t id, const DatabaseFormat& format, const std::filesystem::path& file) {
  for (const DatabaseFormat& other : {kSearchDatabase, kPipelineDatabase}) {
    if (other.application_id == id) {
      return fmt::format("the file must be a database of {}, not of {}: {}", format.what, other.what, file.string());
    }
  }
  return fmt::format("the file must be a database of {}: its application_id is {:#010x}, not {:#010x} ({})",
                     format.what, id, format.application_id, file.string());
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

void require_own_or_empty_file(const std::filesystem::path& file, const DatabaseFormat& format) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(file, error);
  if (!std::filesystem::exists(status)) return;
  if (!std::filesystem::is_regular_file(status)) {
    throw InputError(fmt::format("a database must be a regular file: {}", file.string()));
  }
  // A journal means that SQLite has to roll the file back before its header says anything.
  if (std::filesystem::exists(file.string() + "-journal", error)) return;
  const std::string header = read_header(file);
  if (header.empty()) return;
  const std::optional<std::int32_t> id = application_id_of(header);
  if (!id) throw InputError(fmt::format("not a SQLite database: {}", file.string()));
  if (*id != format.application_id) throw InputError(another_format(*id, format, file));
}

std::optional<std::int32_t> application_id(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) return std::nullopt;
  return application_id_of(read_header(file));
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
      throw Error(
          fmt::format("cannot switch to SQLite's write-ahead log, which some file systems do not support: the "
                      "journal mode stays {} ({})",
                      mode, file.string()));
    }
    database.exec("PRAGMA synchronous = FULL");
  } catch (const SQLite::Exception& failure) {
    throw Error(fmt::format("cannot switch to the write-ahead log: {} ({})", failure.what(), file.string()));
  }
}

void require_own_and_sound(SQLite::Database& database, const std::filesystem::path& file,
                           const DatabaseFormat& format) {
  try {
    if (database.execAndGet("PRAGMA page_count").getInt64() == 0) return;
    const int id = database.execAndGet("PRAGMA application_id").getInt();
    if (id != format.application_id) throw InputError(another_format(id, format, file));
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

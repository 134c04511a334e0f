#include "coordinator/store/migrate_search.h"

#include "common/error.h"
#include "coordinator/store/database_file.h"
#include "coordinator/store/migrations.h"
#include "coordinator/store/writer_lock.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>

#include <memory>

namespace longrope {

void migrate_search(const std::filesystem::path& file) {
  if (application_id(file) != kApplicationId) return;
  try {
    if (schema_version(*open_for_reading(file)) == embedded_migrations().back().version) return;
    const WriterLock lock(file);
    const std::unique_ptr<SQLite::Database> database = open_for_writing(file);
    require_own_and_sound(*database, file);
    migrate(*database, file, embedded_migrations());
  } catch (const SQLite::Exception& failure) {
    throw Error(fmt::format("cannot migrate the database: {} ({})", failure.what(), file.string()));
  }
}

}  // namespace longrope

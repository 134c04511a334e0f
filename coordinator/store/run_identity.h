#pragma once

#include "coordinator/store/store.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <filesystem>

namespace longrope {

/// Writes the search, its stages and documents into a database that has none yet; otherwise throws InputError when the
/// search there is another one, naming the first difference. File names, the model's folder and whatever changes no
/// result may differ. Throws SQLite::Exception.
void adopt_run(SQLite::Database& database, const RunRecord& run, const std::filesystem::path& file);

}  // namespace longrope

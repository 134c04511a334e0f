#pragma once

#include <filesystem>

namespace longrope {

/// Brings the search database `file` to the last schema where it is older, after a backup, as its coordinator would:
/// for a search that is finished none is started again. Does nothing where there is no search database. Throws
/// InputError for a newer schema, or while a coordinator has it; Error when SQLite fails.
void migrate_search(const std::filesystem::path& file);

}  // namespace longrope

#pragma once

#include "coordinator/store/store_reader.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <vector>

namespace longrope {

/// StoreReader::judged_stages(). The caller holds one transaction around it. Throws SQLite::Exception.
[[nodiscard]] std::vector<JudgedStage> read_judged_stages(const SQLite::Database& database);

}  // namespace longrope

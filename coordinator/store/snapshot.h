#pragma once

#include "coordinator/core/records.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <map>
#include <vector>

namespace longrope {

/// Reads back, bit for bit, the rows that RecordWriter wrote. `open_leases` are the leases that have not ended.
/// The caller holds one transaction around it when others write. Throws SQLite::Exception, and Error for values that no
/// release has written.
[[nodiscard]] Snapshot read_snapshot(const SQLite::Database& database);

/// The parents' indices k of every candidate that has any, by candidate id.
[[nodiscard]] std::map<std::int64_t, std::vector<std::int64_t>> read_parents(const SQLite::Database& database);

}  // namespace longrope

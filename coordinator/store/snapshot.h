#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include "coordinator/core/records.h"

namespace longrope {

/// Reads back, bit for bit, the rows that RecordWriter wrote. `open_leases` are the leases that have not ended.
/// The caller holds one transaction around it when others write. Throws SQLite::Exception, and Error for values that no
/// release has written.
[[nodiscard]] Snapshot read_snapshot(const SQLite::Database& database);

}  // namespace longrope

#pragma once

#include "coordinator/store/store_reader.h"

#include <iosfwd>
#include <string>
#include <vector>

namespace longrope {

enum class HistoryFormat { kTable, kCsv, kJson };

/// Writes the rows; without `timing` nothing that depends on when or by whom a candidate was scored, so that equal
/// searches give equal bytes. Numbers are shortest round-trip decimals in CSV and JSON. JSON throws Error for a λ that
/// is no array of numbers.
void write_history(const std::vector<HistoryRow>& rows, HistoryFormat format, bool timing, std::ostream& out);

}  // namespace longrope

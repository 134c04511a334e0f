#pragma once

#include "coordinator/store/store_reader.h"

#include <iosfwd>
#include <string>
#include <vector>

namespace longrope {

enum class HistoryFormat { kTable, kCsv, kJson };

/// Writes the rows. Without `timing` nothing is written that depends on when or by whom a candidate was scored, so that
/// equal searches give equal bytes. CSV and JSON have numbers as shortest round-trip decimals; the table has text made
/// printable, and marks the lowest perplexities of each stage. JSON throws Error for a stored λ that is not an array of
/// numbers.
void write_history(const std::vector<HistoryRow>& rows, HistoryFormat format, bool timing, std::ostream& out);

}  // namespace longrope

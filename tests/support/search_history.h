#pragma once

#include "coordinator/core/records.h"

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace longrope {

/// What must not depend on workers, faults and restarts: one line per fact, numbers bit-exactly.
/// Ids and candidates that a stage cancelled at its end are left out: they tell how far workers were ahead.
[[nodiscard]] std::vector<std::string> search_history(const Snapshot& snapshot);

}  // namespace longrope

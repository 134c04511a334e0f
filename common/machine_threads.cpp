#include "common/machine_threads.h"

#include <algorithm>
#include <thread>

namespace longrope {

std::int64_t machine_threads() { return std::max(1U, std::thread::hardware_concurrency()); }

}  // namespace longrope

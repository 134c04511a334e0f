#pragma once

#include <chrono>
#include <cstdint>

namespace longrope {

/// One reading of both clocks. Liveness and limits are judged by `steady`; `unix_milliseconds` is for people to read.
struct Now {
  std::chrono::milliseconds steady{0};
  std::int64_t unix_milliseconds = 0;
};

[[nodiscard]] inline Now read_clocks() {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  return {duration_cast<milliseconds>(std::chrono::steady_clock::now().time_since_epoch()),
          duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count()};
}

}  // namespace longrope

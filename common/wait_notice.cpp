#include "common/wait_notice.h"

namespace longrope {

std::optional<std::chrono::milliseconds> WaitNotice::due(bool waiting, std::chrono::milliseconds now) {
  if (!waiting) {
    since_.reset();
    return std::nullopt;
  }
  if (!since_) {
    since_ = now;
    next_ = now + kFirst;
  }
  if (now < next_) return std::nullopt;
  next_ = now + kAgain;
  return now - *since_;
}

}  // namespace longrope

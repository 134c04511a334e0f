#include "common/stop_signals.h"

#include <csignal>

namespace longrope {
namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void request_stop(int /*signal*/) { stop = true; }

}  // namespace

const std::atomic<bool>& stop_requested() { return stop; }

void stop_on_signals() {
  struct sigaction action = {};
  action.sa_handler = request_stop;  // without SA_RESTART: poll returns
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace longrope

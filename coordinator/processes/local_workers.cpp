#include "coordinator/processes/local_workers.h"

#include "common/error.h"
#include "common/exit_codes.h"
#include "coordinator/processes/spawn.h"

#include <fmt/format.h>

#include <sys/wait.h>

#include <csignal>
#include <utility>

namespace longrope {
namespace {

constexpr std::chrono::seconds kRestartInterval{1};

/// "1st", "2nd", "3rd", "4th", …, "11th", …
std::string ordinal(std::int64_t number) {
  const bool teen = number / 10 % 10 == 1;
  const char* const ending = teen               ? "th"
                             : number % 10 == 1 ? "st"
                             : number % 10 == 2 ? "nd"
                             : number % 10 == 3 ? "rd"
                                                : "th";
  return fmt::format("{}{}", number, ending);
}

}  // namespace

LocalWorkers::LocalWorkers(LocalWorkerOptions options) : options_(std::move(options)) {
  for (const std::string& device : options_.devices) {
    slots_.push_back({.id = "local-" + std::to_string(slots_.size() + 1), .device = device});
  }
  const std::chrono::milliseconds now = read_clocks().steady;
  for (Slot& slot : slots_) start(slot, now);
}

LocalWorkers::~LocalWorkers() {
  for (Slot& slot : slots_) {
    if (slot.process == 0) continue;
    kill(slot.process, SIGKILL);
    waitpid(slot.process, nullptr, 0);
  }
}

void LocalWorkers::start(Slot& slot, std::chrono::milliseconds now) {
  const Descriptor log = open_log(options_.log);
  // Not killed with the coordinator but told to stop: a worker takes its leave in seconds.
  slot.process = spawn({.command = {options_.program.string(), "worker", "--connect", options_.endpoint, "--model-root",
                                    options_.model_root.string(), "--id", slot.id, "--device", slot.device},
                        .output = log.value(),
                        .errors = log.value(),
                        .death_signal = SIGTERM});
  slot.started = now;
}

int LocalWorkers::reap(Slot& slot) {
  int status = 0;
  if (slot.process == 0 || waitpid(slot.process, &status, WNOHANG) != slot.process) return -1;
  slot.process = 0;
  slot.end = WIFSIGNALED(status) ? fmt::format("by signal {}", WTERMSIG(status))
                                 : fmt::format("with exit code {}", WEXITSTATUS(status));
  return WIFEXITED(status) ? WEXITSTATUS(status) : kExitFailure;
}

void LocalWorkers::supervise(std::chrono::milliseconds now) {
  for (Slot& slot : slots_) {
    if (reap(slot) == kExitBadInput) {
      throw Error("worker " + slot.id + " cannot serve this search; its reason is the last line of " +
                  options_.log.string());
    }
    if (slot.process != 0 || now - slot.started < kRestartInterval) continue;
    start(slot, now);
    options_.say(fmt::format("worker {} ended {}; started again ({} time); log: {}", slot.id, slot.end,
                             ordinal(++slot.restarts), options_.log.string()));
  }
}

void LocalWorkers::terminate() {
  for (const Slot& slot : slots_) {
    if (slot.process != 0) kill(slot.process, SIGTERM);
  }
}

bool LocalWorkers::any_running() {
  bool running = false;
  for (Slot& slot : slots_) {
    (void)reap(slot);
    running = running || slot.process != 0;
  }
  return running;
}

}  // namespace longrope

#include "coordinator/processes/local_workers.h"

#include "common/error.h"
#include "common/exit_codes.h"
#include "coordinator/processes/spawn.h"
#include "coordinator/processes/worker_program.h"

#include <sys/wait.h>

#include <csignal>
#include <utility>

namespace longrope {
namespace {

constexpr std::chrono::seconds kRestartInterval{1};

}  // namespace

LocalWorkers::LocalWorkers(LocalWorkerOptions options) : options_(std::move(options)) {
  for (std::int64_t i = 1; i <= options_.count; ++i) slots_.push_back({"local-" + std::to_string(i)});
  for (Slot& slot : slots_) start(slot);
}

LocalWorkers::~LocalWorkers() {
  for (Slot& slot : slots_) {
    if (slot.process == 0) continue;
    kill(slot.process, SIGKILL);
    waitpid(slot.process, nullptr, 0);
  }
}

void LocalWorkers::start(Slot& slot) {
  const Descriptor log = open_log(options_.log);
  // Not killed with the coordinator but told to stop: a worker takes its leave in seconds.
  slot.process = spawn({.command = {worker_program().string(), "worker", "--connect", options_.endpoint, "--model-root",
                                    options_.model_root.string(), "--id", slot.id},
                        .output = log.value(),
                        .errors = log.value(),
                        .death_signal = SIGTERM});
  slot.started = std::chrono::steady_clock::now();
}

int LocalWorkers::reap(Slot& slot) {
  int status = 0;
  if (slot.process == 0 || waitpid(slot.process, &status, WNOHANG) != slot.process) return -1;
  slot.process = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kExitFailure;
}

void LocalWorkers::supervise() {
  for (Slot& slot : slots_) {
    if (reap(slot) == kExitBadInput) {
      throw Error("worker " + slot.id + " cannot serve this search; its reason is the last line of " +
                  options_.log.string());
    }
    if (slot.process == 0 && std::chrono::steady_clock::now() - slot.started >= kRestartInterval) start(slot);
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

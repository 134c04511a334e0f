#include "cli/local_workers.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "cli/command.h"
#include "cli/worker_program.h"
#include "common/error.h"

namespace longrope {
namespace {

constexpr std::chrono::seconds kRestartInterval{1};

/// In the child, between fork and exec: only async-signal-safe calls.
[[noreturn]] void become_worker(const std::string& program, std::vector<char*>& arguments, int log, pid_t parent) {
  // Its own group, so that Ctrl-C on the terminal reaches the coordinator alone; it dies with the coordinator.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(kExitFailure);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execv(program.c_str(), arguments.data());
  _exit(kExitFailure);
}

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
  const std::string program = worker_program().string();
  std::vector<std::string> words = {
      program, "worker", "--connect", options_.endpoint, "--model-root", options_.model_root.string(), "--id", slot.id};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const int log = open(options_.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) throw Error("cannot write the workers' log: " + options_.log.string() + ": " + std::strerror(errno));
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) become_worker(program, arguments, log, parent);
  close(log);
  if (child < 0) throw Error(std::string("cannot start a worker: ") + std::strerror(errno));
  slot.process = child;
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

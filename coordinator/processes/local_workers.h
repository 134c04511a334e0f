#pragma once

#include "common/clock.h"
#include "coordinator/processes/worker_program.h"

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace longrope {

struct LocalWorkerOptions {
  std::string endpoint;              // of the coordinator, which workers connect to
  std::filesystem::path model_root;  // folder that holds the model's directory
  std::vector<std::string> devices;  // one worker process for each: "cpu", "cuda:0", …
  std::filesystem::path log;         // standard output and error of all workers, appended
  /// Tells the user what happens to workers, a line each; default: nobody is told.
  std::function<void(const std::string& line)> say = [](const std::string& /*line*/) {};
  std::filesystem::path program = worker_program();  // default: longrope-worker beside this program
};

/// Worker processes of `longrope run`: started, started again when one dies, stopped together. They die with this
/// process, however it ends. Not thread-safe.
class LocalWorkers {
 public:
  explicit LocalWorkers(LocalWorkerOptions options);
  ~LocalWorkers();  // kills workers that still run
  LocalWorkers(const LocalWorkers&) = delete;
  LocalWorkers& operator=(const LocalWorkers&) = delete;

  /// Reaps the dead and starts them again, at most once a second each, and says so. Throws Error when a worker exits
  /// because it cannot serve this search (exit code 2): starting it again would not help.
  void supervise(std::chrono::milliseconds now = read_clocks().steady);

  void terminate();                  // SIGTERM to all
  [[nodiscard]] bool any_running();  // reaps, starts none

 private:
  struct Slot {
    std::string id;
    std::string device;
    pid_t process = 0;  // 0: not running
    std::chrono::milliseconds started{0};
    std::int64_t restarts = 0;
    std::string end = {};  // how the process before ended, for people; empty: none did
  };
  void start(Slot& slot, std::chrono::milliseconds now);
  [[nodiscard]] int reap(Slot& slot);

  LocalWorkerOptions options_;
  std::vector<Slot> slots_;
};

}  // namespace longrope

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace longrope {

struct LocalWorkerOptions {
  std::string endpoint;              // of the coordinator, which workers connect to
  std::filesystem::path model_root;  // folder that holds the model's directory
  std::int64_t count = 1;            // worker processes
  std::filesystem::path log;         // standard output and error of all workers, appended
};

/// Worker processes of `longrope run`: started, started again when one dies, stopped together. They die with this
/// process, however it ends. Not thread-safe.
class LocalWorkers {
 public:
  explicit LocalWorkers(LocalWorkerOptions options);
  ~LocalWorkers();  // kills workers that still run
  LocalWorkers(const LocalWorkers&) = delete;
  LocalWorkers& operator=(const LocalWorkers&) = delete;

  /// Reaps the dead and starts them again, at most once a second each. Throws Error when a worker exits because it
  /// cannot serve this search (exit code 2): starting it again would not help.
  void supervise();

  void terminate();                  // SIGTERM to all
  [[nodiscard]] bool any_running();  // reaps, starts none

 private:
  struct Slot {
    std::string id;
    pid_t process = 0;  // 0: not running
    std::chrono::steady_clock::time_point started{};
  };
  void start(Slot& slot);
  [[nodiscard]] int reap(Slot& slot);

  LocalWorkerOptions options_;
  std::vector<Slot> slots_;
};

}  // namespace longrope

#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace longrope {

struct Child {
  std::vector<std::string> command;  // program and arguments
  std::filesystem::path folder;      // it runs in
  std::filesystem::path log;         // its standard output and error, appended; locked as long as anything of it runs
  std::vector<std::pair<std::string, std::string>> environment = {};   // beside that of this process
  std::chrono::milliseconds rest_patience = std::chrono::minutes(10);  // from its end to SIGKILL for what it left
  std::chrono::milliseconds log_patience = std::chrono::seconds(30);   // for what an earlier start left to go
};

struct ChildEnd {
  bool success = false;
  bool stopped = false;   // by a signal to this process, which was passed on as SIGTERM
  std::string last_line;  // of what it printed on standard error, and the signal that killed it; why it failed
};

/// Runs a program to its end; its standard error is shown too. A signal to this process is passed on, once, to it and
/// all that it started in its process group, and it is waited for; what it leaves then, or when it fails, is ended.
/// What it leaves after success runs on, without a standard error. It is killed when this process dies, however that
/// happens: what it was doing must be safe against that. What it started may then live on and holds the lock of `log`.
/// Throws Error when it cannot be started, or something of an earlier child with that log still runs.
[[nodiscard]] ChildEnd run_child(const Child& child);

}  // namespace longrope

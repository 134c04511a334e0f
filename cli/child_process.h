#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace longrope {

struct Child {
  std::vector<std::string> command;                                   // program and arguments
  std::filesystem::path folder;                                       // it runs in
  std::filesystem::path log;                                          // its standard output and error, appended
  std::vector<std::pair<std::string, std::string>> environment = {};  // beside that of this process
};

struct ChildEnd {
  bool success = false;
  bool stopped = false;   // by a signal to this process, which was passed on as SIGTERM
  std::string last_line;  // of what it printed on standard error; why it failed
};

/// Runs a program to its end; its standard error is shown too. It is killed when this process dies, however that
/// happens: what it was doing must be safe against that. Throws Error when it cannot be started.
[[nodiscard]] ChildEnd run_child(const Child& child);

}  // namespace longrope

#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace longrope {

/// A file descriptor, closed when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int value() const { return value_; }
  void close();

 private:
  int value_;  // negative: closed
};

/// How a child process of a command is started.
struct Spawn {
  std::vector<std::string> command;  // program, looked for in PATH unless it has a slash, and arguments
  std::filesystem::path folder = ".";
  int output = -1;  // descriptors that become its standard output and error
  int errors = -1;
  int inherited = -1;    // descriptor that it and what it starts keep open beside those, with its lock
  int death_signal = 0;  // that it gets when this process dies, however that happens
  std::vector<std::pair<std::string, std::string>> environment = {};  // beside that of this process
};

/// The process of a child, the leader of a group of its own as soon as this returns, so that Ctrl-C on the terminal
/// reaches this process alone. A program that cannot be started says so on its standard error and ends with
/// kExitFailure. Throws Error when no process can be made.
[[nodiscard]] pid_t spawn(const Spawn& child);

/// A file to append to, closed on exec. Throws Error when it cannot be opened.
[[nodiscard]] Descriptor open_log(const std::filesystem::path& file);

}  // namespace longrope

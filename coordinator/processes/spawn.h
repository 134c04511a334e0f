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
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  [[nodiscard]] int value() const { return value_; }
  void close();

 private:
  int value_;  // negative: closed
};

/// A pipe whose ends a started program does not inherit. Throws Error, which names the `program` that it is for, when
/// none can be made.
struct Pipe {
  explicit Pipe(const std::string& program);
  Descriptor read_end{-1};
  Descriptor write_end{-1};
};

/// A command to run in a child process.
struct Spawn {
  std::vector<std::string> command;  // program, looked for in PATH unless it has a slash, and arguments
  std::filesystem::path folder = ".";
  int output = -1;       // descriptor that becomes the child's standard output
  int errors = -1;       // descriptor that becomes its standard error
  int inherited = -1;    // descriptor that it and its children keep open, with its lock; negative: none
  int death_signal = 0;  // signal to the child when this process dies, however that happens; 0: none
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to, or in place of, this process's
};

/// Starts the command and returns its process, which leads a process group of its own, so that Ctrl-C on the terminal
/// reaches this process alone. When the program cannot be started, the child says so on its standard error and ends
/// with kExitFailure. Throws Error when no process can be made.
[[nodiscard]] pid_t spawn(const Spawn& child);

/// Opens a file to append to, creating it if need be; closed on exec. Throws Error when it cannot be opened.
[[nodiscard]] Descriptor open_log(const std::filesystem::path& file);

}  // namespace longrope

#include "cli/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>
#include <string_view>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/spawn.h"
#include "cli/stop_signals.h"
#include "common/error.h"

namespace longrope {
namespace {

constexpr int kPatienceMilliseconds = 200;  // how soon a stop request is passed on
constexpr std::size_t kMaxLineBytes = 4096;

/// Shows, keeps and logs what comes through the pipe.
class ErrorStream {
 public:
  explicit ErrorStream(int log) : log_(log) {}

  void take(std::string_view text) {
    std::cerr << text << std::flush;
    // A full disk costs the log, not the work.
    if (write(log_, text.data(), text.size()) < 0) errno = 0;
    for (const char character : text) {
      if (character == '\n') {
        if (!line_.empty()) last_ = line_;
        line_.clear();
      } else if (line_.size() < kMaxLineBytes) {
        line_ += character;
      }
    }
  }
  [[nodiscard]] std::string last_line() const { return line_.empty() ? last_ : line_; }

 private:
  int log_;
  std::string line_;
  std::string last_;
};

}  // namespace

ChildEnd run_child(const Child& child) {
  const Descriptor log_file = open_log(child.log);
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw Error(fmt::format("cannot start {}: {}", child.command.front(), std::strerror(errno)));
  }
  const Descriptor read_end(ends[0]);
  Descriptor write_end(ends[1]);
  const pid_t process = spawn({.command = child.command,
                               .folder = child.folder,
                               .output = log_file.value(),
                               .errors = write_end.value(),
                               .death_signal = SIGKILL,
                               .environment = child.environment});
  write_end.close();

  ErrorStream errors(log_file.value());
  ChildEnd end;
  int status = 0;
  bool open = true;
  while (open || waitpid(process, &status, WNOHANG) == 0) {
    if (stop_requested() && !end.stopped) {
      end.stopped = true;
      kill(process, SIGTERM);
    }
    pollfd ready{open ? read_end.value() : -1, POLLIN, 0};
    if (poll(&ready, 1, kPatienceMilliseconds) <= 0 || !open) continue;
    std::array<char, 4096> buffer{};
    const ssize_t count = read(read_end.value(), buffer.data(), buffer.size());
    if (count > 0) errors.take({buffer.data(), static_cast<std::size_t>(count)});
    open = count > 0 || (count < 0 && errno == EINTR);
  }
  end.success = WIFEXITED(status) && WEXITSTATUS(status) == kExitSuccess;
  end.last_line = errors.last_line();
  if (!end.success && end.last_line.empty()) {
    end.last_line = WIFSIGNALED(status) ? fmt::format("killed by signal {}", WTERMSIG(status))
                                        : fmt::format("exit code {}", WEXITSTATUS(status));
  }
  return end;
}

}  // namespace longrope

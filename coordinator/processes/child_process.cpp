#include "coordinator/processes/child_process.h"

#include "common/error.h"
#include "common/exit_codes.h"
#include "common/stop_signals.h"
#include "coordinator/processes/spawn.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>
#include <string_view>
#include <utility>

namespace longrope {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTickMilliseconds = 200;  // how soon a stop request is passed on and an end is noticed
constexpr std::size_t kMaxLineBytes = 4096;

/// The child's standard error, read from a pipe: shows it, logs it and keeps its last line.
class ErrorStream {
 public:
  ErrorStream(int pipe, int log) : pipe_(pipe), log_(log) {}

  /// Takes what comes within a tick.
  void wait() {
    pollfd ready{pipe_, POLLIN, 0};  // poll() ignores a negative descriptor and waits the tick out
    if (poll(&ready, 1, kTickMilliseconds) > 0) read_some();
  }
  /// Takes what is there and does not wait for the end: a daemon that the child started may never close the pipe.
  void drain() {
    int left = 0;
    if (ioctl(pipe_, FIONREAD, &left) != 0) return;
    while (left > 0 && pipe_ >= 0) left -= static_cast<int>(read_some());
  }
  [[nodiscard]] std::string last_line() const { return line_.empty() ? last_ : line_; }

 private:
  std::size_t read_some() {
    std::array<char, 4096> buffer{};
    const ssize_t count = read(pipe_, buffer.data(), buffer.size());
    if (count > 0) {
      take({buffer.data(), static_cast<std::size_t>(count)});
      return static_cast<std::size_t>(count);
    }
    if (count == 0 || errno != EINTR) pipe_ = -1;
    return 0;
  }

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

  int pipe_;  // negative: at its end
  int log_;
  std::string line_;
  std::string last_;
};

/// The process group of a child: what a launcher started is in it too, and outlives the launcher.
class ChildGroup {
 public:
  explicit ChildGroup(pid_t leader) : leader_(leader) {}

  /// Asks the whole group to end, once. The leader has all the time that it needs, to finish an update of hours and
  /// save its state.
  void terminate() {
    if (!std::exchange(told_to_stop_, true)) kill(-leader_, SIGTERM);
  }
  [[nodiscard]] bool told_to_stop() const { return told_to_stop_; }
  /// After the leader has ended: kills the processes that it left if they do not end within `patience`.
  void end_rest(std::chrono::milliseconds patience, ErrorStream& errors) {
    terminate();
    for (const Clock::time_point deadline = Clock::now() + patience; runs(); errors.wait()) {
      if (Clock::now() < deadline) continue;
      kill(-leader_, SIGKILL);
      return;
    }
  }

 private:
  [[nodiscard]] bool runs() const {
    // Orphans of the child become children of this process; one that has ended counts as running until it is reaped.
    while (waitpid(-leader_, nullptr, WNOHANG) > 0) {
    }
    return kill(-leader_, 0) == 0;
  }

  pid_t leader_;
  bool told_to_stop_ = false;
};

/// Waits until processes of an earlier start have released the log: one that was killed needs time to go. False when a
/// stop was requested meanwhile.
bool lock_log(int log, const Child& child) {
  const Clock::time_point deadline = Clock::now() + child.log_patience;
  while (flock(log, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      throw Error(fmt::format("cannot take the lock: {} ({})", std::strerror(errno), child.log.string()));
    }
    if (Clock::now() >= deadline) {
      throw Error(
          fmt::format("cannot start the command: the one of an earlier start still runs ({})", child.log.string()));
    }
    if (stop_requested()) return false;
    poll(nullptr, 0, kTickMilliseconds);
  }
  return true;
}

std::string reason(int status, const std::string& last_line) {
  if (!WIFSIGNALED(status)) return last_line.empty() ? fmt::format("exit code {}", WEXITSTATUS(status)) : last_line;
  // The last line alone would not tell that the child was killed.
  return fmt::format("{}{}killed by signal {}", last_line, last_line.empty() ? "" : "; ", WTERMSIG(status));
}

}  // namespace

ChildEnd run_child(const Child& child) {
  const Descriptor log_file = open_log(child.log);
  if (!lock_log(log_file.value(), child)) return {.stopped = true};
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw Error(fmt::format("cannot start {}: {}", child.command.front(), std::strerror(errno)));
  }
  // Orphans of the child become this process's, to be reaped: the init of a container may never do it.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const Descriptor read_end(ends[0]);
  Descriptor write_end(ends[1]);
  const pid_t process = spawn({.command = child.command,
                               .folder = child.folder,
                               .output = log_file.value(),
                               .errors = write_end.value(),
                               .inherited = log_file.value(),
                               .death_signal = SIGKILL,
                               .environment = child.environment});
  write_end.close();

  ErrorStream errors(read_end.value(), log_file.value());
  ChildGroup group(process);
  int status = 0;
  while (waitpid(process, &status, WNOHANG) == 0) {
    if (stop_requested()) group.terminate();
    errors.wait();
  }
  errors.drain();
  const bool success = WIFEXITED(status) && WEXITSTATUS(status) == kExitSuccess;
  // Slurm signals the child too, which may have ended it before the signal was passed on.
  ChildEnd end{.success = success,
               .stopped = group.told_to_stop() || (!success && stop_requested()),
               .last_line = errors.last_line()};
  if (!end.success) end.last_line = reason(status, end.last_line);
  // Processes that a failed or stopped launcher left would disturb the next start.
  if (!end.success || end.stopped) group.end_rest(child.rest_patience, errors);
  return end;
}

}  // namespace longrope

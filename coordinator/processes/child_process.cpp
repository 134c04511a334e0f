#include "coordinator/processes/child_process.h"

#include "common/error.h"
#include "common/exit_codes.h"
#include "common/stop_signals.h"
#include "coordinator/processes/spawn.h"

#include <fmt/format.h>

#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace longrope {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTickMilliseconds = 200;  // how soon a stop request is passed on and an end is noticed
constexpr std::size_t kMaxLineBytes = 4096;
constexpr std::chrono::seconds kPatienceWithTheOthers{30};  // once one child has failed

/// The child's standard error, read from a pipe: shows it, logs it and keeps its last line.
class ErrorStream {
 public:
  ErrorStream(int pipe, int log, bool shown) : pipe_(pipe), log_(log), shown_(shown) {}

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
    if (shown_) std::cerr << text << std::flush;
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
  bool shown_;
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

/// A child from its start to its end. Going out of scope before that kills it.
class RunningChild {
 public:
  RunningChild(const Child& child, int log, bool shown)
      : pipe_(child.command.front()),
        errors_(pipe_.read_end.value(), log, shown),
        process_(spawn({.command = child.command,
                        .folder = child.folder,
                        .output = log,
                        .errors = pipe_.write_end.value(),
                        .inherited = log,
                        .death_signal = SIGKILL,
                        .environment = child.environment})),
        group_(process_),
        rest_patience_(child.rest_patience) {
    pipe_.write_end.close();
  }
  ~RunningChild() {
    if (ended_) return;
    kill(-process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  RunningChild(const RunningChild&) = delete;
  RunningChild& operator=(const RunningChild&) = delete;

  /// True once: when the child has ended since the last call.
  [[nodiscard]] bool ends_now() {
    if (ended_ || waitpid(process_, &status_, WNOHANG) == 0) return false;
    ended_ = true;
    errors_.drain();
    return true;
  }
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] bool success() const { return WIFEXITED(status_) && WEXITSTATUS(status_) == kExitSuccess; }
  [[nodiscard]] std::string last_line() const {
    return success() ? errors_.last_line() : reason(status_, errors_.last_line());
  }
  void terminate() { group_.terminate(); }
  void kill_now() const { kill(-process_, SIGKILL); }
  /// Ends the processes that the child left. To be called after its end.
  void end_rest() { group_.end_rest(rest_patience_, errors_); }
  /// Takes what comes on the child's standard error within a tick.
  void wait() { errors_.wait(); }
  /// Takes what has come on the child's standard error, and does not wait.
  void drain() { errors_.drain(); }

 private:
  Pipe pipe_;
  ErrorStream errors_;
  pid_t process_;
  ChildGroup group_;
  std::chrono::milliseconds rest_patience_;
  int status_ = 0;
  bool ended_ = false;
};

using RunningChildren = std::vector<std::unique_ptr<RunningChild>>;

/// Waits for all children; tells the others to end when one fails or a stop is requested.
ChildEnd ends_of(const RunningChildren& children) {
  ChildEnd end{.success = true};
  std::optional<Clock::time_point> deadline;  // for the other children, once one has failed
  const auto all_ended = [&] {
    return std::ranges::all_of(children, [](const auto& child) { return child->ended(); });
  };
  while (!all_ended()) {
    bool fails_now = false;
    for (std::size_t i = 0; i < children.size(); ++i) {
      RunningChild& child = *children[i];
      if (!child.ends_now()) continue;
      if (end.success && child.success()) end.last_line = child.last_line();
      if (child.success() || deadline) continue;
      const std::string number = children.size() == 1 ? "" : fmt::format("process {} of {}: ", i + 1, children.size());
      // Every child that has failed since the last tick is named: the one seen first may have failed because another
      // did.
      end.last_line = fmt::format("{}{}{}", fails_now ? end.last_line + "; " : "", number, child.last_line());
      end.success = false;
      fails_now = true;
    }
    if (all_ended()) break;
    if (stop_requested()) end.stopped = true;
    if (fails_now) deadline = Clock::now() + kPatienceWithTheOthers;
    for (const auto& child : children) {
      if (child->ended()) continue;
      if (end.stopped || deadline) child->terminate();
      if (deadline && Clock::now() >= *deadline) child->kill_now();
    }
    children.front()->wait();
    for (const auto& child : children) child->drain();
  }
  // Slurm signals the children too, which may have ended them before the signal was passed on.
  end.stopped = end.stopped || (!end.success && stop_requested());
  // Processes that a failed or stopped launcher left would disturb the next start.
  if (!end.success || end.stopped) {
    for (const auto& child : children) child->end_rest();
  }
  return end;
}

}  // namespace

ChildEnd run_children(const std::vector<Child>& children) {
  std::vector<Descriptor> logs;
  for (const Child& child : children) {
    logs.push_back(open_log(child.log));
    if (!lock_log(logs.back().value(), child)) return {.stopped = true};
  }
  // Orphans of the children become children of this process, to be reaped: the init of a container may never do it.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  RunningChildren running;
  for (std::size_t i = 0; i < children.size(); ++i) {
    running.push_back(std::make_unique<RunningChild>(children[i], logs[i].value(), /*shown=*/i == 0));
  }
  return ends_of(running);
}

}  // namespace longrope

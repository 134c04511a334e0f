#include "cli/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
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
#include "cli/stop_signals.h"
#include "common/error.h"

namespace longrope {
namespace {

constexpr int kPatienceMilliseconds = 200;  // how soon a stop request is passed on
constexpr std::size_t kMaxLineBytes = 4096;

/// Closed when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int value() const { return value_; }
  void close() {
    if (value_ >= 0) ::close(value_);
    value_ = -1;
  }

 private:
  int value_;
};

/// In the child, between fork and exec: only async-signal-safe calls.
[[noreturn]] void become(std::vector<char*>& arguments, std::vector<char*>& environment, const char* folder, int output,
                         int errors, pid_t parent) {
  // Its own group, so that Ctrl-C on the terminal reaches this process alone, which passes it on.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent || chdir(folder) != 0) _exit(kExitFailure);
  dup2(output, STDOUT_FILENO);
  dup2(errors, STDERR_FILENO);
  execvpe(arguments.front(), arguments.data(), environment.data());
  constexpr std::string_view kMessage = "the program cannot be started\n";
  if (write(STDERR_FILENO, kMessage.data(), kMessage.size()) < 0) _exit(kExitFailure);
  _exit(kExitFailure);
}

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

/// For execvpe, valid as long as `words`.
std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

ChildEnd run_child(const Child& child) {
  const Descriptor log_file(open(child.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  std::array<int, 2> ends{};
  if (log_file.value() < 0 || pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw Error(
        fmt::format("cannot start {}: {} ({})", child.command.front(), std::strerror(errno), child.log.string()));
  }
  const Descriptor read_end(ends[0]);
  Descriptor write_end(ends[1]);
  std::vector<std::string> words = child.command;
  std::vector<char*> arguments = pointers(words);
  std::vector<std::string> settings;
  for (char** setting = environ; *setting != nullptr; ++setting) settings.emplace_back(*setting);
  for (const auto& [name, value] : child.environment) settings.push_back(fmt::format("{}={}", name, value));
  std::vector<char*> environment = pointers(settings);
  const pid_t parent = getpid();
  const pid_t process = fork();
  if (process == 0) {
    become(arguments, environment, child.folder.c_str(), log_file.value(), write_end.value(), parent);
  }
  if (process < 0) throw Error(fmt::format("cannot start {}: {}", child.command.front(), std::strerror(errno)));
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

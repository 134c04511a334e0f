#include "coordinator/processes/child_output.h"

#include "common/error.h"
#include "common/exit_codes.h"
#include "coordinator/processes/spawn.h"

#include <fmt/format.h>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace longrope {
namespace {

constexpr std::size_t kMaxBytes = 1U << 20;

/// To the end of the pipe, or one read beyond the limit.
std::string read_to_end(int pipe) {
  std::string text;
  std::array<char, 4096> buffer{};
  while (text.size() <= kMaxBytes) {
    const ssize_t count = read(pipe, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return text;
}

}  // namespace

std::string output_of(const std::vector<std::string>& command) {
  Pipe pipe(command.front());
  const pid_t process =
      spawn({.command = command, .output = pipe.write_end.value(), .errors = STDERR_FILENO, .death_signal = SIGKILL});
  pipe.write_end.close();
  const std::string text = read_to_end(pipe.read_end.value());
  if (text.size() > kMaxBytes) kill(process, SIGKILL);
  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  if (text.size() > kMaxBytes) throw Error(fmt::format("{} has written more than a mebibyte", command.front()));
  if (WIFSIGNALED(status)) throw Error(fmt::format("{} was killed by signal {}", command.front(), WTERMSIG(status)));
  if (WEXITSTATUS(status) != kExitSuccess) {
    throw Error(fmt::format("{} has failed with exit code {}", command.front(), WEXITSTATUS(status)));
  }
  return text;
}

}  // namespace longrope

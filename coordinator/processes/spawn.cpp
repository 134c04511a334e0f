#include "coordinator/processes/spawn.h"

#include "common/error.h"
#include "common/exit_codes.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace longrope {
namespace {

/// An argument array for execvpe, valid as long as `words`.
std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Makes the forked child the program: only async-signal-safe calls between fork and exec.
[[noreturn]] void become(const Spawn& child, std::vector<char*>& arguments, std::vector<char*>& environment,
                         pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, child.death_signal);
  if (getppid() != parent || chdir(child.folder.c_str()) != 0) _exit(kExitFailure);
  dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);  // a group of its own must not wait for the terminal
  dup2(child.output, STDOUT_FILENO);
  dup2(child.errors, STDERR_FILENO);
  // Shells redirect the standard output of what they start, Python closes all others: one of the two is inherited.
  if (child.inherited >= 0) fcntl(child.inherited, F_DUPFD, STDERR_FILENO + 1);
  execvpe(arguments.front(), arguments.data(), environment.data());
  constexpr std::string_view kMessage = "the program cannot be started\n";
  if (write(STDERR_FILENO, kMessage.data(), kMessage.size()) < 0) _exit(kExitFailure);
  _exit(kExitFailure);
}

/// Whether `child` has another value for the variable of `setting` ("NAME=value"): of two, getenv() finds the first.
bool is_replaced(std::string_view setting, const Spawn& child) {
  const std::string_view name = setting.substr(0, setting.find('='));
  return std::ranges::any_of(child.environment, [&](const auto& added) { return added.first == name; });
}

}  // namespace

void Descriptor::close() {
  if (value_ >= 0) ::close(value_);
  value_ = -1;
}

Pipe::Pipe(const std::string& program) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw Error(fmt::format("cannot start {}: {}", program, std::strerror(errno)));
  }
  read_end = Descriptor(ends[0]);
  write_end = Descriptor(ends[1]);
}

pid_t spawn(const Spawn& child) {
  std::vector<std::string> words = child.command;
  std::vector<char*> arguments = pointers(words);
  std::vector<std::string> settings;
  for (char** setting = environ; *setting != nullptr; ++setting) {
    if (!is_replaced(*setting, child)) settings.emplace_back(*setting);
  }
  for (const auto& [name, value] : child.environment) settings.push_back(fmt::format("{}={}", name, value));
  std::vector<char*> environment = pointers(settings);
  const pid_t parent = getpid();
  const pid_t process = fork();
  if (process == 0) become(child, arguments, environment, parent);
  if (process < 0) throw Error(fmt::format("cannot start {}: {}", child.command.front(), std::strerror(errno)));
  setpgid(process, process);  // as the child does: a signal to the group must find it, whoever runs first
  return process;
}

Descriptor open_log(const std::filesystem::path& file) {
  const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor < 0) throw Error(fmt::format("cannot write a log: {} ({})", std::strerror(errno), file.string()));
  return Descriptor(descriptor);
}

}  // namespace longrope

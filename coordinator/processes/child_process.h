#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace longrope {

struct Child {
  std::vector<std::string> command;  // program and arguments
  std::filesystem::path folder;      // working directory
  /// Standard output and error are appended to this file. It is locked as long as the child, or a process that the
  /// child started, runs.
  std::filesystem::path log;
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to, or in place of, this process's
  /// How long processes that the child left may go on after it was stopped or has failed, before SIGKILL.
  std::chrono::milliseconds rest_patience = std::chrono::minutes(10);
  /// How long to wait for processes of an earlier child with this log.
  std::chrono::milliseconds log_patience = std::chrono::seconds(30);
};

struct ChildEnd {
  bool success = false;
  bool stopped = false;   // by a signal to this process, which was passed on as SIGTERM
  std::string last_line;  // last line on standard error, then the signal that killed it: why it failed
};

/// Runs a program, or several that work together, to their end; each has a log of its own. The standard error of the
/// first is shown too. A signal to this process is passed on, once, to each child and to all that it started in its
/// process group, and the child is waited for. Processes that a child leaves behind are ended when it was stopped or
/// one has failed; after success they run on, without a standard error. A child is killed when this process dies,
/// however that happens, so its work must be safe against that; processes that it started may then live on and hold the
/// lock of its log. When one fails, the others are told to end by SIGTERM, because they would wait for it, and are
/// killed 30 s later. Succeeds when all do; `last_line` has the reason of each that failed by itself. Throws Error
/// when a child cannot be started, or when a process of an earlier child with its log still runs.
[[nodiscard]] ChildEnd run_children(const std::vector<Child>& children);

}  // namespace longrope

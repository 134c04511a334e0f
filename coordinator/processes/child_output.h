#pragma once

#include <string>
#include <vector>

namespace longrope {

/// Runs a program to its end and returns what it writes to standard output, at most 1 MiB; its standard error is that
/// of this process. Throws Error when it cannot be started, fails, or writes more.
[[nodiscard]] std::string output_of(const std::vector<std::string>& command);

}  // namespace longrope

#pragma once

#include <filesystem>

namespace longrope {

/// The program longrope-worker, which lies beside this one. Throws Error when it was not built or installed.
[[nodiscard]] std::filesystem::path worker_program();

}  // namespace longrope

#pragma once

#include "common/files/embedded_file.h"

#include <span>

namespace longrope {

/// The files that report/CMakeLists.txt compiles in.
[[nodiscard]] std::span<const EmbeddedFile> page_files();

}  // namespace longrope

#pragma once

#include "common/files/embedded_file.h"

#include <span>

namespace longrope {

/// tools/engine_nll.py.
[[nodiscard]] std::span<const EmbeddedFile> engine_tool();

}  // namespace longrope

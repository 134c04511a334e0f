#pragma once

#include <string_view>

namespace longrope {

/// A file that is compiled into the binary (cmake/EmbedFiles.cmake).
struct EmbeddedFile {
  std::string_view name;  // the last part of its path
  std::string_view content;
};

}  // namespace longrope

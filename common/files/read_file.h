#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace longrope {

/// The bytes of a regular file. Throws InputError when `path` is not one, it cannot be read, or it is larger than
/// `max_bytes` (checked while reading, because the file may grow). Thread-safe.
[[nodiscard]] std::string read_file(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace longrope

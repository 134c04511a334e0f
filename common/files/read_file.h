#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace longrope {

/// The bytes of a regular file. Throws InputError when there is none, it cannot be read, or it is larger than
/// `max_bytes` (checked while reading: the file may grow). Thread-safe.
[[nodiscard]] std::string read_file(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace longrope

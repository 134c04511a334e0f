#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace longrope {

/// The bytes of a regular file. Throws InputError when `path` is not one, it cannot be read, or it is larger than
/// `max_bytes` (checked while reading, because the file may grow). Thread-safe.
[[nodiscard]] std::string read_file(const std::filesystem::path& path, std::size_t max_bytes);

/// `text` without the UTF-8 byte order mark that some editors and spreadsheets write before it. Thread-safe.
[[nodiscard]] constexpr std::string_view without_byte_order_mark(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  return text.starts_with(kByteOrderMark) ? text.substr(kByteOrderMark.size()) : text;
}

}  // namespace longrope

#include "common/files/read_file.h"

#include "common/error.h"

#include <fmt/format.h>

#include <array>
#include <fstream>

namespace longrope {

std::string read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  constexpr std::size_t kChunkBytes = 65536;
  std::error_code status_error;
  if (!std::filesystem::is_regular_file(path, status_error)) {
    throw InputError(fmt::format("input must be an existing regular file: {}", path.string()));
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw InputError(fmt::format("file must be readable: {}", path.string()));
  std::string content;
  std::array<char, kChunkBytes> chunk{};
  while (stream.read(chunk.data(), chunk.size()), stream.gcount() > 0) {
    content.append(chunk.data(), static_cast<std::size_t>(stream.gcount()));
    if (content.size() > max_bytes) {
      throw InputError(fmt::format("file must not be larger than {} bytes: {}", max_bytes, path.string()));
    }
  }
  if (stream.bad()) throw InputError(fmt::format("file must be readable to its end: {}", path.string()));
  return content;
}

}  // namespace longrope

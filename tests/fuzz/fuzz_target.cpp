#include "tests/fuzz/fuzz_target.h"

#include "common/error.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <system_error>

namespace longrope {
namespace {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    const std::filesystem::path memory = "/dev/shm";
    const bool usable = ::access(memory.c_str(), W_OK) == 0;
    std::string path = (usable ? memory : std::filesystem::temp_directory_path()) / "longrope-fuzz-XXXXXX";
    require_promise(::mkdtemp(path.data()) != nullptr, "a temporary folder must be writable");
    path_ = path;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

const std::filesystem::path& fuzz_folder() {
  static const TemporaryFolder folder;
  return folder.path();
}

std::filesystem::path hostile_file(std::string_view name, std::string_view content) {
  std::filesystem::path path = fuzz_folder() / name;
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream.write(content.data(), static_cast<std::streamsize>(content.size()));
  stream.close();
  require_promise(!stream.fail(), "a temporary file must be writable");
  return path;
}

void require_promise(bool kept, std::string_view promise) {
  if (kept) return;
  std::cerr << "broken promise: " << promise << '\n';
  std::abort();
}

}  // namespace longrope

// libFuzzer calls it with one input after the other.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    longrope::read_hostile_input({reinterpret_cast<const char*>(data), size});
  } catch (const longrope::InputError& refusal) {
    // Refused, as it should be. Any other exception leaves here and is reported with the input.
    const std::string_view message = refusal.what();
    const auto control = [](char byte) { return static_cast<unsigned char>(byte) < 0x20U || byte == 0x7F; };
    longrope::require_promise(!message.empty() && std::ranges::none_of(message, control),
                              "a message must be fit for a terminal");
  }
  return 0;
}

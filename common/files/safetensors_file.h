#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace longrope {

/// A view into the mapped file; valid as long as the SafetensorsFile lives.
struct TensorView {
  std::string dtype;  // as written: "F32", "BF16", "I32", "U8" …
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Strict memory-mapped reader of one .safetensors file. Refuses with InputError, before allocating for it: header over
/// 100 MB or past the end, JSON too deep or with duplicate keys, unknown dtype, negative or overflowing shapes, offsets
/// that overlap, leave holes or leave the file, byte counts that disagree with the shape. Throws Error when the file
/// cannot be mapped. Thread-safe after construction. The file must not be changed or cut while it is mapped.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;

  [[nodiscard]] const std::map<std::string, TensorView>& tensors() const;
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const;

 private:
  struct Mapping;
  std::unique_ptr<Mapping> mapping_;
};

struct TensorToWrite {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};
/// Writes to a temporary beside `path`, syncs, then renames: never half a file. Throws Error when that fails, and for a
/// tensor whose bytes disagree with its dtype and shape.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace longrope

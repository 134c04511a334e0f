#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace longrope {

/// Incremental SHA-256 (OpenSSL). Not thread-safe. Every call throws Error when OpenSSL fails.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  Sha256& update(std::span<const std::byte> bytes);
  /// Hashes the field's length before the field, so that adjacent fields cannot run into each other.
  Sha256& field(std::string_view text);
  Sha256& field(std::int64_t number);
  Sha256& field(double number);  // its bits

  /// Lower-case hex; the object may not be used afterwards.
  [[nodiscard]] std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 of a file's bytes in lower-case hex. Throws InputError for what is not a readable regular file.
[[nodiscard]] std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace longrope

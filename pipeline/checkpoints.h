#pragma once

#include "common/model/model_description.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

namespace longrope {

/// What a run of a pipeline reads of checkpoints, documents and factors: each file is hashed and each config.json
/// parsed once, however many stages take it. A file is known by device, inode, size and time of its last change: hard
/// links to one file are one, and a file that was changed is read again. Not thread-safe.
class Checkpoints {
 public:
  Checkpoints() = default;
  /// `reached_length`: tokens that `model`, and no other checkpoint, is made for, where the user says it.
  Checkpoints(std::filesystem::path model, std::optional<std::int64_t> reached_length);

  /// SHA-256 in hex. Throws InputError when the file cannot be read.
  [[nodiscard]] const std::string& file_digest(const std::filesystem::path& file);
  /// model_digest() of a model directory. Throws InputError as it does.
  [[nodiscard]] std::string digest(const std::filesystem::path& directory);
  /// digest() of a model directory, file_digest() of a file.
  [[nodiscard]] std::string input_digest(const std::filesystem::path& input);
  /// file_digest() of a file; of a folder, a digest over the names and digests of all files in it, in name order.
  [[nodiscard]] std::string output_digest(const std::filesystem::path& output);
  /// What the user says of `directory`, which is then to be passed on to whoever describes it; nullopt: nothing.
  [[nodiscard]] std::optional<std::int64_t> reached_length(const std::filesystem::path& directory) const;
  /// describe_model() of a model directory. Throws InputError as it does.
  [[nodiscard]] const ModelDescription& description(const std::filesystem::path& directory);
  /// Must not outlive this.
  [[nodiscard]] IdentifiedModel identified(const std::filesystem::path& directory) {
    return {description(directory), [this](const std::filesystem::path& file) { return file_digest(file); }};
  }

 private:
  using FileIdentity = std::tuple<std::uint64_t, std::uint64_t, std::int64_t, std::int64_t, std::int64_t>;

  std::filesystem::path model_;
  std::optional<std::int64_t> reached_length_;  // of model_
  std::map<FileIdentity, std::string> digests_;
  std::map<std::filesystem::path, std::pair<std::string, ModelDescription>> descriptions_;  // with config.json's digest
};

}  // namespace longrope

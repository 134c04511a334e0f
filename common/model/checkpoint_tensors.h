#pragma once

#include "common/files/safetensors_file.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// The tensors of a Hugging Face directory by name, as the headers of its weight files give them. Weights are mapped
/// and not read. Views are valid as long as this. Thread-safe after construction.
class CheckpointTensors {
 public:
  /// Throws InputError for a missing or broken weight file, and for a tensor that two of them hold.
  explicit CheckpointTensors(const std::filesystem::path& directory);

  /// nullptr when there is no tensor of that name.
  [[nodiscard]] const TensorView* find(const std::string& name) const;
  /// The file that holds tensor `name`, which must exist.
  [[nodiscard]] const std::filesystem::path& file_of(const std::string& name) const;

  /// Tensor `name`. Throws InputError when there is none, for another shape and for another dtype than F32, F16 and
  /// BF16, with tensor and file and with what helps.
  [[nodiscard]] const TensorView& require(const std::string& name, const std::vector<std::int64_t>& shape) const;

  /// Throws InputError naming the first tensor that is not among `used` and ends in none of the suffixes `ignored`: an
  /// architecture read only in part would give plausible, wrong numbers.
  void require_no_other(const std::set<std::string>& used, const std::set<std::string>& ignored) const;

 private:
  [[noreturn]] void refuse_missing(const std::string& name) const;

  std::filesystem::path directory_;
  std::vector<std::filesystem::path> paths_;
  std::vector<SafetensorsFile> files_;         // same order as paths_
  std::map<std::string, std::size_t> places_;  // index in files_
};

}  // namespace longrope

#pragma once

#include "common/model/checkpoint_tensors.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// The weights of a Hugging Face directory, found by name and checked against the shape the model needs.
/// Not thread-safe. What is loaded does not refer to the files. require_usable_weights() has checked the tensors
/// before; what is checked here holds for each tensor that is read.
class Checkpoint {
 public:
  /// Maps every weight file. Throws InputError for a missing or broken shard, or a tensor that two shards hold.
  explicit Checkpoint(const std::filesystem::path& directory) : tensors_(directory) {}

  /// A copy of tensor `name` in `dtype` on `device`, contiguous; F32, F16 and BF16 are read, rounding to nearest even.
  /// Throws InputError naming tensor and file for a missing tensor, another shape ("shape mismatch") or another dtype.
  [[nodiscard]] at::Tensor load(const std::string& name, const std::vector<std::int64_t>& shape, at::ScalarType dtype,
                                at::Device device);

  /// Rows [first, first + count) of a matrix that load() has accepted; otherwise as load().
  [[nodiscard]] at::Tensor load_rows(const std::string& name, std::int64_t first, std::int64_t count,
                                     at::ScalarType dtype, at::Device device) const;

  /// Throws InputError naming the first tensor that was not loaded: an architecture read only in part would give
  /// plausible, wrong numbers. Names with a suffix in `ignored` are allowed.
  void require_all_loaded(const std::set<std::string>& ignored) const { tensors_.require_no_other(loaded_, ignored); }

 private:
  CheckpointTensors tensors_;
  std::set<std::string> loaded_;
};

}  // namespace longrope

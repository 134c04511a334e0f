#pragma once

#include "common/files/safetensors_file.h"
#include "common/model/expected_tensors.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace longrope {

/// float32 tensors that a test changes before it writes them.
class ConstantWeights {
 public:
  /// Every tensor that `model` needs, with the same number everywhere.
  ConstantWeights(const ModelDescription& model, float value) {
    for (const auto& [name, shape] : expected_tensors(model)) set(name, shape, value);
  }

  void set(const std::string& name, const std::vector<std::int64_t>& shape, float value) {
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    values_[name] = std::vector<float>(count, value);
    tensors_[name] = {"F32", shape, std::as_bytes(std::span(values_.at(name)))};
  }
  /// The same bytes as numbers of another dtype; the last size of the shape follows.
  void reinterpret(const std::string& name, const std::string& dtype, std::int64_t element_bytes) {
    TensorToWrite& tensor = tensors_.at(name);
    tensor.dtype = dtype;
    tensor.shape.back() = tensor.shape.back() * static_cast<std::int64_t>(sizeof(float)) / element_bytes;
  }
  void rename(const std::string& from, const std::string& to) {
    tensors_[to] = tensors_.at(from);
    tensors_.erase(from);
  }
  void erase(const std::string& name) { tensors_.erase(name); }
  /// The numbers of a tensor.
  std::vector<float>& values(const std::string& name) { return values_.at(name); }

  void write(const std::filesystem::path& directory) const {
    write_safetensors(directory / "model.safetensors", tensors_, {});
  }

 private:
  std::map<std::string, std::vector<float>> values_;
  std::map<std::string, TensorToWrite> tensors_;
};

}  // namespace longrope

#include "finetune/tensor_file.h"

#include "common/files/safetensors_file.h"

#include <ATen/ATen.h>

#include <cstddef>
#include <span>

namespace longrope {

void write_tensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors, at::ScalarType dtype,
                   const std::map<std::string, std::string>& metadata) {
  const char* const name = dtype == at::kBFloat16 ? "BF16" : dtype == at::kHalf ? "F16" : "F32";
  std::vector<at::Tensor> rounded;  // own the bytes that `to_write` refers to
  std::map<std::string, TensorToWrite> to_write;
  for (const NamedTensor& named : tensors) {
    rounded.push_back(named.tensor.detach().to(at::kCPU, dtype).contiguous());
    const auto* const data = static_cast<const std::byte*>(rounded.back().const_data_ptr());
    to_write[named.name] = {
        .dtype = name, .shape = named.tensor.sizes().vec(), .bytes = std::span(data, rounded.back().nbytes())};
  }
  write_safetensors(path, to_write, metadata);
}

}  // namespace longrope

#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>

namespace longrope {

/// The memory of a contiguous tensor on the CPU, as write_safetensors() takes it; valid as long as the tensor.
[[nodiscard]] inline std::span<const std::byte> bytes_of(const at::Tensor& contiguous) {
  return {static_cast<const std::byte*>(contiguous.const_data_ptr()), contiguous.nbytes()};
}

}  // namespace longrope

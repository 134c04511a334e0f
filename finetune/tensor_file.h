#pragma once

#include "worker/model/layer_weights.h"

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace longrope {

/// Writes `tensors`, which may be on any device, rounded to `dtype` (float32, float16 or bfloat16), as one safetensors
/// file, whole or not at all. Throws Error when writing fails.
void write_tensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors, at::ScalarType dtype,
                   const std::map<std::string, std::string>& metadata);

}  // namespace longrope

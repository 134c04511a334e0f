#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace longrope {

/// A GPU as NVIDIA's driver knows it.
struct DriverGpu {
  std::string model;              // "NVIDIA H200"
  std::int64_t memory_bytes = 0;  // of the device
  std::int64_t capability = 0;    // compute capability, 90 for 9.0
};

/// The GPUs that NVIDIA's driver shows to this process, in the order of Torch's cuda:0, cuda:1, … (both follow
/// CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER). Empty without a driver. Asks libcuda, which is loaded for it, so that a
/// build without CUDA can name the GPUs that it does not use; makes no CUDA context.
[[nodiscard]] std::vector<DriverGpu> gpus_of_driver();

}  // namespace longrope

#include "worker/scoring/device_inventory.h"

#include "worker/scoring/compute_device.h"

#include <ATen/ATen.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <torch/version.h>

namespace longrope {

UsableGpus usable_gpus() {
  if (!c10::impl::hasDeviceGuardImpl(at::kCUDA)) return {.why_none = "this build has no CUDA"};
  if (!at::hasCUDA()) return {.why_none = fmt::format("Torch {} finds no CUDA device", TORCH_VERSION)};
  return {.count = c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount()};
}

double measured_cpu_tflops(std::int64_t threads) {
  constexpr std::int64_t kSide = 1024;
  constexpr double kSeconds = 1.0;
  constexpr double kOperations = 2.0 * kSide * kSide * kSide;
  set_threads(threads);
  const at::Tensor factor = at::full({kSide, kSide}, 0.5, at::TensorOptions().dtype(at::kFloat));
  at::Tensor product = at::mm(factor, factor);  // the first one also makes the threads
  const double begun = seconds_when_finished(at::kCPU);
  double elapsed = 0.0;
  std::int64_t products = 0;
  while (elapsed < kSeconds) {
    at::mm_out(product, factor, factor);
    ++products;
    elapsed = seconds_when_finished(at::kCPU) - begun;
  }
  return static_cast<double>(products) * kOperations / elapsed / 1e12;
}

}  // namespace longrope

#include "worker/scoring/gpu_driver.h"

#include <dlfcn.h>

#include <array>
#include <cstddef>

namespace longrope {
namespace {

constexpr const char* kLibrary = "libcuda.so.1";
constexpr int kSuccess = 0;  // CUDA_SUCCESS
constexpr int kMajor = 75;   // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
constexpr int kMinor = 76;   // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR

/// A function of the library, or null: `Function` is its type in cuda.h, where CUresult and CUdevice are int.
template <typename Function>
Function* function_of(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

}  // namespace

std::vector<DriverGpu> gpus_of_driver() {
  // Never closed: Torch may use the same library.
  void* const library = dlopen(kLibrary, RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return {};
  auto* const initialise = function_of<int(unsigned)>(library, "cuInit");
  auto* const count_devices = function_of<int(int*)>(library, "cuDeviceGetCount");
  auto* const get_device = function_of<int(int*, int)>(library, "cuDeviceGet");
  auto* const get_name = function_of<int(char*, int, int)>(library, "cuDeviceGetName");
  auto* const get_memory = function_of<int(std::size_t*, int)>(library, "cuDeviceTotalMem_v2");
  auto* const get_attribute = function_of<int(int*, int, int)>(library, "cuDeviceGetAttribute");
  int count = 0;
  if (initialise == nullptr || count_devices == nullptr || get_device == nullptr || get_name == nullptr ||
      get_memory == nullptr || get_attribute == nullptr || initialise(0) != kSuccess ||
      count_devices(&count) != kSuccess) {
    return {};
  }
  std::vector<DriverGpu> gpus;
  for (int i = 0; i < count; ++i) {
    DriverGpu& gpu = gpus.emplace_back();
    int device = 0;
    if (get_device(&device, i) != kSuccess) continue;
    std::array<char, 256> name{};
    if (get_name(name.data(), static_cast<int>(name.size() - 1), device) == kSuccess) gpu.model = name.data();
    std::size_t bytes = 0;
    if (get_memory(&bytes, device) == kSuccess) gpu.memory_bytes = static_cast<std::int64_t>(bytes);
    int major = 0;
    int minor = 0;
    if (get_attribute(&major, kMajor, device) == kSuccess && get_attribute(&minor, kMinor, device) == kSuccess) {
      gpu.capability = 10 * major + minor;
    }
  }
  return gpus;
}

}  // namespace longrope

#include "worker/kernels/cpu_kernels.h"

#include <bit>

namespace longrope {

#ifdef LONGROPE_X86_KERNELS

extern const CpuKernels kAvx2Kernels;
extern const CpuKernels kAvx512Kernels;

const CpuKernels* avx2_kernels() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kAvx2Kernels : nullptr;
}

const CpuKernels* avx512_kernels() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") ? &kAvx512Kernels : nullptr;
}

#else

const CpuKernels* avx2_kernels() { return nullptr; }
const CpuKernels* avx512_kernels() { return nullptr; }

#endif

namespace {

float to_float(float value) { return value; }
float to_float(std::uint16_t bfloat16) { return std::bit_cast<float>(std::uint32_t{bfloat16} << 16U); }

}  // namespace

const CpuKernels* cpu_kernels() {
  const CpuKernels* const widest = avx512_kernels();
  return widest != nullptr ? widest : avx2_kernels();
}

template <typename Weight>
void pack_panels(const Weight* weight, std::int64_t columns, std::int64_t depth, std::int64_t first_panel,
                 std::int64_t last_panel, float* panels) {
  for (std::int64_t panel = first_panel; panel < last_panel; ++panel) {
    float* const to = panels + panel * depth * kPanelColumns;
    for (std::int64_t lane = 0; lane < kPanelColumns; ++lane) {
      const std::int64_t column = panel * kPanelColumns + lane;
      for (std::int64_t k = 0; k < depth; ++k) {
        to[k * kPanelColumns + lane] = column < columns ? to_float(weight[column * depth + k]) : 0.0F;
      }
    }
  }
}
template void pack_panels(const float*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, float*);
template void pack_panels(const std::uint16_t*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, float*);

}  // namespace longrope

#include "worker/kernels/cpu_kernel_table.h"

namespace longrope {

/// AVX2 in the blocks of twelve rows and two panels that AVX-512 takes: all of its kernels but the instructions
/// themselves, on a processor without them.
struct TwelveRows : Avx2 {
  static constexpr const char* kName = "AVX2 in blocks of twelve rows";
  static constexpr int kRows = Avx2::kRows * 2;
  static constexpr int kPanels = 2;
};

extern const CpuKernels kTwelveRowKernels = kernel_table<Float32Operands<TwelveRows>>();

/// exp() of the kernels, by itself.
void exponentials(const float* in, std::int64_t panels, float* out) {
  for (std::int64_t index = 0; index < panels * kPanelColumns; index += kPanelColumns) {
    Avx2::store(out + index, exponential<Avx2>(Avx2::load(in + index)));
  }
}

}  // namespace longrope

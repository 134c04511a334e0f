#include "worker/kernels/cpu_kernel_table.h"

namespace longrope {

/// Everything in this source is compiled for AVX2: call nothing here before avx2_kernels() has said that the
/// processor has it.
extern const CpuKernels kAvx2Kernels = kernel_table<Float32Operands<Avx2>>();

}  // namespace longrope

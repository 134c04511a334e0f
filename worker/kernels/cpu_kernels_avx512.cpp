#include "worker/kernels/cpu_kernel_table.h"

namespace longrope {

/// Everything in this source is compiled for AVX-512: call nothing here before avx512_kernels() has said that the
/// processor has it.
extern const CpuKernels kAvx512Kernels = kernel_table<Float32Operands<Avx512>>();

}  // namespace longrope

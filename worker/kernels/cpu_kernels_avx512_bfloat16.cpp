#include "worker/kernels/cpu_kernel_table.h"

namespace longrope {

/// Everything in this source is compiled for AVX512-BF16: call nothing here before avx512_bfloat16_kernels() has said
/// that the processor has it.
extern const CpuKernels kAvx512Bfloat16Kernels = kernel_table<Bfloat16Operands>();

}  // namespace longrope

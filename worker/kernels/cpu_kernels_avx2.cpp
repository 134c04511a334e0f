#include "worker/kernels/flash_attention.h"
#include "worker/kernels/matrix_product.h"
#include "worker/kernels/row_kernels.h"

namespace longrope {

/// Compiled for this instruction set alone: call nothing here before avx2_kernels() has said that the processor has it.
extern const CpuKernels kAvx2Kernels = {Avx2::kName,  multiply<Avx2>, attend<Avx2>,    rms_norm<Avx2>,
                                        rotate<Avx2>, gate<Avx2>,     add_logits<Avx2>};

}  // namespace longrope

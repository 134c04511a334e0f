#include "worker/kernels/flash_attention.h"
#include "worker/kernels/matrix_product.h"
#include "worker/kernels/row_kernels.h"

namespace longrope {

/// Everything in this source is compiled for AVX2: call nothing here before avx2_kernels() has said that the processor
/// has it.
extern const CpuKernels kAvx2Kernels = {Avx2::kName,  multiply<Avx2>, attend<Avx2>,    rms_norm<Avx2>,
                                        rotate<Avx2>, gate<Avx2>,     add_logits<Avx2>};

}  // namespace longrope

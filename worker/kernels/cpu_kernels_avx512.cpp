#include "worker/kernels/flash_attention.h"
#include "worker/kernels/matrix_product.h"
#include "worker/kernels/row_kernels.h"

namespace longrope {

/// Everything in this source is compiled for AVX-512: call nothing here before avx512_kernels() has said that the
/// processor has it.
extern const CpuKernels kAvx512Kernels = {Avx512::kName,  multiply<Avx512>, attend<Avx512>,    rms_norm<Avx512>,
                                          rotate<Avx512>, gate<Avx512>,     add_logits<Avx512>};

}  // namespace longrope

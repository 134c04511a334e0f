#include "worker/kernels/cuda/cuda_kernels.h"

namespace longrope {

#ifdef LONGROPE_CUDA_KERNELS

extern const CudaKernels kCudaKernels;  // cuda_kernels.cu

const CudaKernels* cuda_kernels() { return &kCudaKernels; }

#else

const CudaKernels* cuda_kernels() { return nullptr; }

#endif

}  // namespace longrope

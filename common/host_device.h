#pragma once

// Marks a pure function that is compiled once for the host and for CUDA devices (worker/kernels/cuda). No CUDA header.
// Device code is compiled without contraction to fused multiply-adds, as the host's is, so that the two differ by no
// more than their libraries' cos, sin and exp.
#ifdef __CUDACC__
#define LONGROPE_HOST_DEVICE __host__ __device__
#else
#define LONGROPE_HOST_DEVICE
#endif

#pragma once

// Marks a pure function that is compiled once for the host and for CUDA devices (worker/kernels/cuda). No CUDA header.
// Neither the host's code nor the device's contracts to fused multiply-adds, so that the two differ by no more than
// their libraries' cos, sin and exp.
#ifdef __CUDACC__
#define LONGROPE_HOST_DEVICE __host__ __device__
#else
#define LONGROPE_HOST_DEVICE
#endif

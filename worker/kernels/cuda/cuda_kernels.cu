#include "worker/kernels/cuda/cuda_kernels.h"
#include "worker/kernels/cuda/kernel_bodies.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace longrope {
namespace {

constexpr int kThreadsPerBlock = 128;
static_assert((kThreadsPerRow & (kThreadsPerRow - 1)) == 0, "the tree halves the threads");

template <typename Element, typename Real>
__global__ void rotate_kernel(Rotation<Real> rotation) {
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kThreadsPerBlock + threadIdx.x;
  if (thread < rotation_threads(rotation)) rotate_thread<Element>(rotation, thread);
}

template <typename Element>
__global__ void add_logits_kernel(LogitTile tile) {
  __shared__ LogitState states[kThreadsPerRow];
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t row = blockIdx.x;
  states[thread] = logits_of_thread<Element>(tile, row, thread);
  for (int distance = kThreadsPerRow / 2; distance > 0; distance /= 2) {
    __syncthreads();
    join_thread(states, thread, distance);
  }
  if (thread == 0) finish_row<Element>(tile, row, states[0]);
}

/// Calls launch with a null pointer of the type that `type` names.
template <typename Launch>
void for_type(ElementType type, const Launch& launch) {
  switch (type) {
    case ElementType::kFloat32:
      return launch(static_cast<float*>(nullptr));
    case ElementType::kBfloat16:
      return launch(static_cast<__nv_bfloat16*>(nullptr));
    case ElementType::kFloat16:
      return launch(static_cast<__half*>(nullptr));
  }
  throw std::runtime_error("unknown element type: " + std::to_string(static_cast<int>(type)));
}

/// A grid's first dimension takes 2³¹ − 1 blocks, far more than a tile has.
unsigned int blocks(std::int64_t count) {
  if (count > INT32_MAX) throw std::runtime_error("too many blocks for one CUDA launch: " + std::to_string(count));
  return static_cast<unsigned int>(count);
}

void require_launched(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("cannot launch ") + kernel + ": " + cudaGetErrorString(error));
  }
}

template <typename Real>
void rotate(const Rotation<Real>& rotation, CudaStream stream) {
  const std::int64_t threads = rotation_threads(rotation);
  if (threads == 0) return;  // an empty grid is refused
  for_type(rotation.type, [&]<typename Element>(Element*) {
    const unsigned int grid = blocks((threads + kThreadsPerBlock - 1) / kThreadsPerBlock);
    rotate_kernel<Element><<<grid, kThreadsPerBlock, 0, static_cast<cudaStream_t>(stream)>>>(rotation);
  });
  require_launched("rotate_kernel");
}

void add_logits(const LogitTile& tile, CudaStream stream) {
  if (tile.rows == 0) return;
  for_type(tile.type, [&]<typename Element>(Element*) {
    add_logits_kernel<Element><<<blocks(tile.rows), kThreadsPerRow, 0, static_cast<cudaStream_t>(stream)>>>(tile);
  });
  require_launched("add_logits_kernel");
}

}  // namespace

extern const CudaKernels kCudaKernels = {rotate<double>, rotate<float>, add_logits};

}  // namespace longrope

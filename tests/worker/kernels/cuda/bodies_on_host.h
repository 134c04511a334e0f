#pragma once

#include "worker/kernels/cuda/kernel_bodies.h"

#include <vector>

namespace longrope {

// The kernels of cuda_kernels.cu with pointers of host memory: the bodies of their threads, one after the other.

template <typename Element, typename Real>
void rotate_on_host(const Rotation<Real>& rotation) {
  for (std::int64_t thread = 0; thread < rotation_threads(rotation); ++thread) rotate_thread<Element>(rotation, thread);
}

/// Where the threads of the kernel wait for each other, one loop over them ends and the next begins.
template <typename Element>
void add_logits_on_host(const LogitTile& tile) {
  std::vector<LogitState> states(kThreadsPerRow);
  for (std::int64_t row = 0; row < tile.rows; ++row) {
    for (int thread = 0; thread < kThreadsPerRow; ++thread) {
      states[static_cast<std::size_t>(thread)] = logits_of_thread<Element>(tile, row, thread);
    }
    for (int distance = kThreadsPerRow / 2; distance > 0; distance /= 2) {
      for (int thread = 0; thread < kThreadsPerRow; ++thread) join_thread(states.data(), thread, distance);
    }
    finish_row<Element>(tile, row, states[0]);
  }
}

}  // namespace longrope

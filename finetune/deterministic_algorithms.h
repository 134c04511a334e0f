#pragma once

#include <ATen/core/Tensor.h>

namespace longrope {

/// While it lives, Torch's operations on CUDA devices take their deterministic form, in the whole process, and one that
/// has none fails: the gradients of fused attention are otherwise sums in any order. On the CPU it does nothing. To be
/// made for the first time before the first product on a device: cuBLAS reads its settings then.
class DeterministicAlgorithms {
 public:
  explicit DeterministicAlgorithms(at::Device device);
  ~DeterministicAlgorithms();
  DeterministicAlgorithms(const DeterministicAlgorithms&) = delete;
  DeterministicAlgorithms& operator=(const DeterministicAlgorithms&) = delete;

 private:
  bool active_;
};

}  // namespace longrope

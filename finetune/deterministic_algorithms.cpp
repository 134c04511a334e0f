#include "finetune/deterministic_algorithms.h"

#include <ATen/Context.h>

#include <cstdlib>

namespace longrope {

DeterministicAlgorithms::DeterministicAlgorithms(at::Device device) : active_(device.is_cuda()) {
  if (!active_) return;
  // Without a workspace of fixed size cuBLAS has no deterministic form, and Torch refuses its products.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicFillUninitializedMemory(false);  // nothing reads what it has not written
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
}

DeterministicAlgorithms::~DeterministicAlgorithms() {
  if (active_) at::globalContext().setDeterministicAlgorithms(false, /*warn_only=*/false);
}

}  // namespace longrope

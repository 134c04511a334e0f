#pragma once

#include "finetune/process_place.h"

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>

namespace longrope {

/// c10d's NCCL backend, for tensors on GPUs; each process uses a GPU of its own. Operations are queued on the tensor's
/// stream and happen after the call. Throws c10::Error where there is no GPU, and Error in a build whose LibTorch has
/// no CUDA.
[[nodiscard]] c10::intrusive_ptr<c10d::Backend> nccl_group(const c10::intrusive_ptr<c10d::Store>& store,
                                                           const ProcessPlace& place,
                                                           std::chrono::milliseconds patience);

}  // namespace longrope

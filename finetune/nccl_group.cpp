#include "finetune/nccl_group.h"

#include "common/error.h"

#include <utility>

// c10d's own macro: without it the header below is empty.
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace longrope {

#ifdef USE_C10D_NCCL
c10::intrusive_ptr<c10d::Backend> nccl_group(const c10::intrusive_ptr<c10d::Store>& store, const ProcessPlace& place,
                                             std::chrono::milliseconds patience) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = patience;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, static_cast<int>(place.rank), static_cast<int>(place.count),
                                                     std::move(options));
}
#else
c10::intrusive_ptr<c10d::Backend> nccl_group(const c10::intrusive_ptr<c10d::Store>& /*store*/,
                                             const ProcessPlace& /*place*/, std::chrono::milliseconds /*patience*/) {
  throw Error("cannot sum tensors on GPUs: this LibTorch was built without CUDA");
}
#endif

}  // namespace longrope

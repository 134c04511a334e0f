#include "worker/model/cuda_placement.h"

#include "common/error.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

namespace longrope {

CudaStream current_stream(at::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
}

ElementType element_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ElementType::kFloat32;
    case at::kBFloat16:
      return ElementType::kBfloat16;
    case at::kHalf:
      return ElementType::kFloat16;
    default:
      throw Error(fmt::format("the CUDA kernels do not compute on {}", c10::toString(tensor.scalar_type())));
  }
}

}  // namespace longrope

#include "worker/model/cuda_rotation.h"

#include "worker/model/cuda_placement.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <variant>

namespace longrope {

RotaryRows rotary_frequency_rows(const RotaryFrequencies& frequencies, std::int64_t begin, at::Device device) {
  return std::visit(
      [&]<typename Real>(const RotaryAngles<Real>& angles) -> RotaryRows {
        const auto pairs = static_cast<std::int64_t>(frequencies.pairs());
        const at::Tensor both = at::empty({2, pairs}, at::TensorOptions().dtype(c10::CppTypeToScalarType<Real>::value));
        std::copy_n(angles.original, pairs, both.data_ptr<Real>());
        std::copy_n(angles.rescaled, pairs, both.data_ptr<Real>() + pairs);
        // CUDA has read pageable memory when the call returns; a blocking copy would wait for all work before it as
        // well.
        return {.frequencies = both.to(device, /*non_blocking=*/true),
                .attention = static_cast<double>(angles.attention),
                .n_hat = angles.n_hat,
                .first = begin};
      },
      frequencies.angles());
}

template <typename Real>
Rotation<Real> rotation_of(const at::Tensor& heads, const RotaryRows& rotary, const CacheRows& cache) {
  const std::int64_t pairs = rotary.frequencies.size(1);
  const Real* const original = rotary.frequencies.const_data_ptr<Real>();
  KeyValueRows rows;
  if (cache.keys.defined()) {
    rows = {.keys = cache.keys.data_ptr(),
            .values = cache.values.data_ptr(),
            .stride = cache.keys.stride(0),
            .heads = cache.keys.size(1)};
  }
  return {.rows = heads.data_ptr(),
          .type = element_type(heads),
          .stride = heads.stride(0),
          .tokens = heads.size(0),
          .heads = heads.size(1),
          .head_dim = heads.size(2),
          .first_position = rotary.first,
          .sequence_tokens = rotary.sequence_tokens,
          .pairs = pairs,
          .angles = {original, original + pairs, static_cast<Real>(rotary.attention), rotary.n_hat},
          .cache = rows};
}
template Rotation<double> rotation_of(const at::Tensor& heads, const RotaryRows& rotary, const CacheRows& cache);
template Rotation<float> rotation_of(const at::Tensor& heads, const RotaryRows& rotary, const CacheRows& cache);

void rotate_on_cuda(const CudaKernels& kernels, const at::Tensor& heads, const RotaryRows& rotary,
                    const CacheRows& cache) {
  const c10::DeviceGuard guard(heads.device());
  const CudaStream stream = current_stream(heads.device());
  if (rotary.frequencies.scalar_type() == at::kDouble) {
    kernels.rotate_fp64(rotation_of<double>(heads, rotary, cache), stream);
  } else {
    kernels.rotate_hf_fp32(rotation_of<float>(heads, rotary, cache), stream);
  }
}

}  // namespace longrope

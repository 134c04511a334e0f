#include "worker/model/cuda_rotation.h"

#include "worker/model/cuda_placement.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace longrope {
namespace {

template <typename Real>
at::Tensor to_device(const RotaryFrequencies<Real>& frequencies, at::Device device) {
  const auto pairs = static_cast<std::int64_t>(frequencies.original.size());
  const at::Tensor both = at::empty({2, pairs}, at::TensorOptions().dtype(c10::CppTypeToScalarType<Real>::value));
  std::ranges::copy(frequencies.original, both.data_ptr<Real>());
  std::ranges::copy(frequencies.rescaled, both.data_ptr<Real>() + pairs);
  // CUDA has read pageable memory when the call returns; a blocking copy would wait for all work before it as well.
  return both.to(device, /*non_blocking=*/true);
}

}  // namespace

RotaryRows rotary_frequency_rows(const RotaryGeometry& geometry, const RescaleFactors& factors, AngleMode mode,
                                 std::int64_t begin, at::Device device) {
  return {.frequencies = mode == AngleMode::kFp64 ? to_device(rotary_frequencies_fp64(geometry, factors), device)
                                                  : to_device(rotary_frequencies_hf_fp32(geometry, factors), device),
          .attention = factors.attention.value,
          .n_hat = factors.n_hat,
          .first = begin};
}

template <typename Real>
Rotation<Real> rotation_of(const at::Tensor& heads, const RotaryRows& rotary) {
  const std::int64_t pairs = rotary.frequencies.size(1);
  const Real* const original = rotary.frequencies.const_data_ptr<Real>();
  return {.rows = heads.data_ptr(),
          .type = element_type(heads),
          .stride = heads.stride(0),
          .tokens = heads.size(0),
          .heads = heads.size(1),
          .head_dim = heads.size(2),
          .first_position = rotary.first,
          .pairs = pairs,
          .angles = {original, original + pairs, static_cast<Real>(rotary.attention), rotary.n_hat}};
}
template Rotation<double> rotation_of(const at::Tensor& heads, const RotaryRows& rotary);
template Rotation<float> rotation_of(const at::Tensor& heads, const RotaryRows& rotary);

}  // namespace longrope

#include "worker/model/row_operations.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>

#include "worker/model/cuda_placement.h"

namespace longrope {
namespace {

constexpr std::int64_t kRowsPerTask = 16;

ConstRows from_row(const at::Tensor& tensor, std::int64_t first, std::int64_t last) {
  return {tensor.const_data_ptr<float>() + first * tensor.stride(0), tensor.stride(0), last - first};
}
Rows to_row(const at::Tensor& tensor, std::int64_t first) {
  return {tensor.data_ptr<float>() + first * tensor.stride(0), tensor.stride(0)};
}

template <typename Real>
at::Tensor to_device(const RotaryFrequencies<Real>& frequencies, at::Device device) {
  const auto pairs = static_cast<std::int64_t>(frequencies.original.size());
  const at::Tensor both = at::empty({2, pairs}, at::TensorOptions().dtype(c10::CppTypeToScalarType<Real>::value));
  std::ranges::copy(frequencies.original, both.data_ptr<Real>());
  std::ranges::copy(frequencies.rescaled, both.data_ptr<Real>() + pairs);
  // CUDA has read pageable memory when the call returns; a blocking copy would wait for all work before it as well.
  return both.to(device, /*non_blocking=*/true);
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

void rotate_on_cuda(const CudaKernels& kernels, const at::Tensor& heads, const RotaryRows& rotary) {
  const c10::DeviceGuard guard(heads.device());
  const CudaStream stream = current_stream(heads.device());
  if (rotary.frequencies.scalar_type() == at::kDouble) {
    kernels.rotate_fp64(rotation_of<double>(heads, rotary), stream);
  } else {
    kernels.rotate_hf_fp32(rotation_of<float>(heads, rotary), stream);
  }
}

}  // namespace

void rms_norm(const at::Tensor& in, const at::Tensor& weight, double epsilon, const at::Tensor& out) {
  const CpuKernels* const kernels = kernels_for(in);
  if (kernels == nullptr) {
    out.copy_(at::rms_norm(in, weight.sizes(), weight, epsilon));
    return;
  }
  at::parallel_for(0, in.size(0), kRowsPerTask, [&](std::int64_t first, std::int64_t last) {
    kernels->rms_norm(from_row(in, first, last), in.size(1), weight.const_data_ptr<float>(),
                      static_cast<float>(epsilon), to_row(out, first));
  });
}

void gate(const at::Tensor& gate_up, const at::Tensor& out) {
  const std::int64_t width = out.size(1);
  const CpuKernels* const kernels = kernels_for(gate_up);
  if (kernels == nullptr) {
    at::Tensor result = out;
    at::silu_out(result, gate_up.narrow(1, 0, width)).mul_(gate_up.narrow(1, width, width));
    return;
  }
  at::parallel_for(0, out.size(0), kRowsPerTask, [&](std::int64_t first, std::int64_t last) {
    kernels->gate(from_row(gate_up, first, last), width, to_row(out, first));
  });
}

RotaryRows rotary_rows(const RotaryGeometry& geometry, const RescaleFactors& factors, AngleMode mode,
                       std::int64_t begin, std::int64_t count, at::Device device) {
  if (cuda_kernels_for(device) != nullptr) {
    return {.frequencies = mode == AngleMode::kFp64 ? to_device(rotary_frequencies_fp64(geometry, factors), device)
                                                    : to_device(rotary_frequencies_hf_fp32(geometry, factors), device),
            .attention = factors.attention.value,
            .n_hat = factors.n_hat,
            .first = begin};
  }
  const auto pairs = static_cast<std::int64_t>(geometry.pairs());
  const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat);
  const RotaryRows rows{.cos = at::empty({count, pairs}, options), .sin = at::empty({count, pairs}, options)};
  at::parallel_for(0, count, kRowsPerTask, [&](std::int64_t first, std::int64_t last) {
    const RotaryTable table = rotary_table(geometry, factors, begin + first, begin + last, mode);
    std::ranges::copy(table.cos, rows.cos.data_ptr<float>() + first * pairs);
    std::ranges::copy(table.sin, rows.sin.data_ptr<float>() + first * pairs);
  });
  return {.cos = rows.cos.to(device), .sin = rows.sin.to(device)};
}

RotaryRows transposed(const RotaryRows& rotary) {
  RotaryRows back = rotary;
  if (back.sin.defined()) back.sin = -back.sin;
  if (back.frequencies.defined()) back.frequencies = -back.frequencies;
  return back;
}

void rotate(const at::Tensor& heads, const RotaryRows& rotary) {
  if (const CudaKernels* const kernels = cuda_kernels_for(heads.device())) {
    rotate_on_cuda(*kernels, heads, rotary);
    return;
  }
  const std::int64_t pairs = rotary.cos.size(1);
  if (const CpuKernels* const kernels = kernels_for(heads)) {
    at::parallel_for(0, heads.size(0), kRowsPerTask, [&](std::int64_t first, std::int64_t last) {
      kernels->rotate(to_row(heads, first), last - first, heads.size(1), heads.size(2),
                      rotary.cos.const_data_ptr<float>() + first * pairs,
                      rotary.sin.const_data_ptr<float>() + first * pairs, pairs);
    });
    return;
  }
  const at::Tensor cos = rotary.cos.unsqueeze(1);
  const at::Tensor sin = rotary.sin.unsqueeze(1);
  const at::Tensor first = heads.narrow(2, 0, pairs).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  const at::Tensor second = heads.narrow(2, pairs, pairs).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  heads.narrow(2, 0, pairs).copy_(at::mul(first, cos).addcmul_(second, sin, -1.0));
  heads.narrow(2, pairs, pairs).copy_(at::mul(second, cos).addcmul_(first, sin, 1.0));
}

}  // namespace longrope

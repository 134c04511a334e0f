#include "worker/model/row_operations.h"

#include "worker/model/cuda_placement.h"
#include "worker/model/cuda_rotation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

namespace longrope {
namespace {

constexpr std::int64_t kRowsPerTask = 16;

ConstRows from_row(const at::Tensor& tensor, std::int64_t first, std::int64_t last) {
  return {tensor.const_data_ptr<float>() + first * tensor.stride(0), tensor.stride(0), last - first};
}
Rows to_row(const at::Tensor& tensor, std::int64_t first) {
  return {tensor.data_ptr<float>() + first * tensor.stride(0), tensor.stride(0)};
}

}  // namespace

void rms_norm(const at::Tensor& in, const at::Tensor& weight, double epsilon, const at::Tensor& out) {
  const CpuKernels* const kernels = row_kernels_for(in);
  if (kernels == nullptr) {
    out.copy_(at::rms_norm(in, weight.sizes(), weight, epsilon));
    return;
  }
  at::parallel_for(0, in.size(0), kRowsPerTask, [&](std::int64_t first, std::int64_t last) {
    kernels->rms_norm(from_row(in, first, last), in.size(1), weight.const_data_ptr<float>(),
                      static_cast<float>(epsilon), to_row(out, first));
  });
}

void rms_norm_heads(const at::Tensor& heads, const at::Tensor& weight, double epsilon) {
  if (row_kernels_for(heads) == nullptr) {
    rms_norm(heads, weight, epsilon, heads);  // one call for all
    return;
  }
  for (const at::Tensor& head : heads.unbind(1)) rms_norm(head, weight, epsilon, head);
}

void gate(const at::Tensor& gate_up, const at::Tensor& out) {
  const std::int64_t width = out.size(1);
  const CpuKernels* const kernels = row_kernels_for(gate_up);
  if (kernels == nullptr) {
    at::Tensor result = out;
    at::silu_out(result, gate_up.narrow(1, 0, width)).mul_(gate_up.narrow(1, width, width));
    return;
  }
  at::parallel_for(0, out.size(0), kRowsPerTask, [&](std::int64_t first, std::int64_t last) {
    kernels->gate(from_row(gate_up, first, last), width, to_row(out, first));
  });
}

RotaryRows rotary_rows(const RotaryFrequencies& frequencies, std::int64_t begin, std::int64_t count,
                       at::Device device) {
  if (cuda_kernels_for(device) != nullptr) return rotary_frequency_rows(frequencies, begin, device);
  const auto pairs = static_cast<std::int64_t>(frequencies.pairs());
  const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat);
  const RotaryRows rows{.cos = at::empty({count, pairs}, options), .sin = at::empty({count, pairs}, options)};
  at::parallel_for(0, count, kRowsPerTask, [&](std::int64_t first, std::int64_t last) {
    const RotaryTable table = rotary_table(frequencies, begin + first, begin + last);
    std::ranges::copy(table.cos, rows.cos.data_ptr<float>() + first * pairs);
    std::ranges::copy(table.sin, rows.sin.data_ptr<float>() + first * pairs);
  });
  return {.cos = rows.cos.to(device), .sin = rows.sin.to(device)};
}

RotaryRows rows_of(const RotaryRows& rotary, std::int64_t first, std::int64_t count) {
  RotaryRows rows = rotary;
  if (rows.cos.defined()) {
    rows.cos = rotary.cos.narrow(0, first, count);
    rows.sin = rotary.sin.narrow(0, first, count);
  }
  rows.first += first;
  return rows;
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
  if (rotary.sequence_tokens > 0) {
    RotaryRows one = rotary;
    one.sequence_tokens = 0;
    for (const at::Tensor& sequence : heads.split(rotary.sequence_tokens)) rotate(sequence, one);
    return;
  }
  const std::int64_t pairs = rotary.cos.size(1);
  if (const CpuKernels* const kernels = row_kernels_for(heads)) {
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

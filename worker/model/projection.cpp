#include "worker/model/projection.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

namespace longrope {
namespace {

at::Tensor in_panels(const at::Tensor& weight) {
  const std::int64_t outputs = weight.size(0);
  const std::int64_t inputs = weight.size(1);
  const at::Tensor source = weight.contiguous();
  const at::Tensor result = at::empty({panels(outputs), inputs, kPanelColumns}, at::TensorOptions().dtype(at::kFloat));
  at::parallel_for(0, panels(outputs), 1, [&](std::int64_t first, std::int64_t last) {
    float* const to = result.data_ptr<float>();
    if (source.scalar_type() == at::kBFloat16) {
      pack_panels(static_cast<const std::uint16_t*>(source.const_data_ptr()), outputs, inputs, first, last, to);
    } else {
      pack_panels(source.const_data_ptr<float>(), outputs, inputs, first, last, to);
    }
  });
  return result;
}

void multiply(const CpuKernels& kernels, const at::Tensor& in, const at::Tensor& matrix, bool accumulate,
              const at::Tensor& out) {
  at::parallel_for(0, matrix.size(0), 1, [&](std::int64_t first, std::int64_t last) {
    kernels.multiply({.in = const_rows(in),
                      .matrix = matrix.const_data_ptr<float>(),
                      .depth = in.size(1),
                      .columns = out.size(1),
                      .first_panel = first,
                      .last_panel = last,
                      .accumulate = accumulate,
                      .out = rows(out)});
  });
}

}  // namespace

Projection::Projection(const at::Tensor& weight, const at::Tensor& bias, const Placement& placement)
    : weight_(kernels_for(placement.device, placement.arithmetic) != nullptr ? in_panels(weight)
                                                                             : weight.to(placement.arithmetic)),
      bias_(bias.defined() ? bias.to(placement.arithmetic) : bias) {}

void Projection::write(const at::Tensor& in, const at::Tensor& out) const {
  at::Tensor target = out;
  if (const CpuKernels* const kernels = kernels_for(in)) {
    multiply(*kernels, in, weight_, /*accumulate=*/false, target);
    if (bias_.defined()) target.add_(bias_);
  } else if (bias_.defined()) {
    at::addmm_out(target, bias_, in, weight_.t());
  } else {
    at::mm_out(target, in, weight_.t());
  }
}

void Projection::add(const at::Tensor& in, const at::Tensor& out) const {
  if (const CpuKernels* const kernels = kernels_for(in)) {
    multiply(*kernels, in, weight_, /*accumulate=*/true, out);
  } else {
    out.addmm_(in, weight_.t());
  }
  if (bias_.defined()) out.add_(bias_);
}

}  // namespace longrope

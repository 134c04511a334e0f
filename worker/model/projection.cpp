#include "worker/model/projection.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <bit>
#include <cstdint>

namespace longrope {
namespace {

at::Tensor in_panels(const CpuKernels& kernels, const at::Tensor& weight) {
  const std::int64_t outputs = weight.size(0);
  const std::int64_t inputs = weight.size(1);
  const at::Tensor source = weight.contiguous();
  const at::Tensor result = at::empty({panels(outputs), operand_count(kernels.operands, inputs), kPanelColumns},
                                      at::TensorOptions().dtype(kOperandTensor));
  at::parallel_for(0, panels(outputs), 1, [&](std::int64_t first, std::int64_t last) {
    void* const to = result.data_ptr();
    if (source.scalar_type() == at::kBFloat16) {
      const auto* const bits = static_cast<const std::uint16_t*>(source.const_data_ptr());
      pack_panels(bits, outputs, inputs, first, last, kernels.operands, to);
    } else {
      pack_panels(source.const_data_ptr<float>(), outputs, inputs, first, last, kernels.operands, to);
    }
  });
  return result;
}

/// Number `place` (0 or 1) of one operand's bits.
float number_of(std::uint32_t operand, std::int64_t place, OperandType operands) {
  if (operands == OperandType::kFloat32) return std::bit_cast<float>(operand);
  return std::bit_cast<float>(place == 0 ? operand << 16U : operand & 0xFFFF0000U);
}

/// What in_panels() was made from, transposed: [inputs, outputs] float32.
at::Tensor transposed_from_panels(const CpuKernels& kernels, const at::Tensor& matrix, std::int64_t outputs,
                                  std::int64_t inputs) {
  const at::Tensor result = at::empty({inputs, outputs}, at::TensorOptions().dtype(at::kFloat));
  const std::int64_t numbers = numbers_per_operand(kernels.operands);
  const auto* const operands = static_cast<const std::uint32_t*>(matrix.const_data_ptr());
  at::parallel_for(0, inputs, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t input = first; input < last; ++input) {
      float* const row = result.data_ptr<float>() + input * outputs;
      for (std::int64_t output = 0; output < outputs; ++output) {
        const std::int64_t panel = output / kPanelColumns;
        const std::int64_t place = (panel * matrix.size(1) + input / numbers) * kPanelColumns + output % kPanelColumns;
        row[output] = number_of(operands[place], input % numbers, kernels.operands);
      }
    }
  });
  return result;
}

void multiply(const CpuKernels& kernels, const at::Tensor& in, const at::Tensor& matrix, bool accumulate,
              const at::Tensor& out) {
  at::parallel_for(0, matrix.size(0), 1, [&](std::int64_t first, std::int64_t last) {
    kernels.multiply({.in = const_rows(in),
                      .matrix = matrix.const_data_ptr(),
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
    : kernels_(kernels_for(placement)),
      weight_(kernels_ != nullptr ? in_panels(*kernels_, weight) : weight.to(placement.products)),
      bias_(bias.defined() ? bias.to(placement.arithmetic) : bias),
      outputs_(weight.size(0)),
      inputs_(weight.size(1)) {}

void Projection::write(const at::Tensor& in, const at::Tensor& out) const {
  at::Tensor target = out;
  if (kernels_ != nullptr) {
    multiply(*kernels_, in, weight_, /*accumulate=*/false, target);
    if (bias_.defined()) target.add_(bias_);
  } else if (bias_.defined()) {
    at::addmm_out(target, bias_, in, weight_.t());
  } else {
    at::mm_out(target, in, weight_.t());
  }
}

void Projection::add(const at::Tensor& in, const at::Tensor& out) const {
  if (kernels_ != nullptr) {
    multiply(*kernels_, in, weight_, /*accumulate=*/true, out);
  } else {
    out.addmm_(in, weight_.t());
  }
  if (bias_.defined()) out.add_(bias_);
}

Projection Projection::transposed() const {
  Projection back;
  back.kernels_ = kernels_;
  back.outputs_ = inputs_;
  back.inputs_ = outputs_;
  back.weight_ = kernels_ != nullptr
                     ? in_panels(*kernels_, transposed_from_panels(*kernels_, weight_, outputs_, inputs_))
                     : weight_.t();
  return back;
}

Projection Projection::outputs(std::int64_t first, std::int64_t count) const {
  Projection part;
  part.kernels_ = kernels_;
  part.outputs_ = count;
  part.inputs_ = inputs_;
  part.weight_ =
      kernels_ != nullptr ? weight_.narrow(0, first / kPanelColumns, panels(count)) : weight_.narrow(0, first, count);
  return part;
}

}  // namespace longrope

#include "finetune/rotation.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace longrope {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kRows = "rows";

at::Tensor turned(const at::Tensor& heads, const RotaryRows& rotary) {
  // Side by side, as rotate() asks; on the CPU in float32, which its kernels turn.
  const at::ScalarType dtype = heads.is_cpu() ? at::kFloat : heads.scalar_type();
  const at::Tensor result = heads.to(dtype, /*non_blocking=*/false, /*copy=*/true, at::MemoryFormat::Contiguous);
  RotaryRows rows = rotary;
  rows.sequence_tokens = heads.size(1);
  rotate(result.flatten(0, 1), rows);
  return result.to(heads.scalar_type());
}

/// As a context can hold it.
struct KeptRows : torch::CustomClassHolder {
  explicit KeptRows(const RotaryRows& rotary) : rows(rotary) {}
  RotaryRows rows;
};

struct RotationFunction : torch::autograd::Function<RotationFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& heads, const RotaryRows& rotary) {
    context->saved_data[kRows] = c10::IValue::make_capsule(c10::make_intrusive<KeptRows>(rotary));
    return turned(heads, rotary);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto kept = c10::static_intrusive_pointer_cast<KeptRows>(context->saved_data[kRows].toCapsule());
    return {turned(gradients.front(), transposed(kept->rows)), at::Tensor()};
  }
};

}  // namespace

at::Tensor rotated(const at::Tensor& heads, const RotaryRows& rotary) { return RotationFunction::apply(heads, rotary); }

}  // namespace longrope

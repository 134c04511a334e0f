#include "worker/model/rotary_embedding.h"

#include <ATen/ATen.h>

namespace longrope {
namespace {

at::Tensor to_tensor(const std::vector<float>& values, const RotaryTable& table, at::Device device) {
  const auto pairs = static_cast<std::int64_t>(table.pairs);
  const at::Tensor result = at::empty({table.positions, pairs}, at::TensorOptions().dtype(at::kFloat));
  std::ranges::copy(values, result.data_ptr<float>());
  return result.to(device);
}

}  // namespace

RotaryTensors to_device(const RotaryTable& table, at::Device device) {
  return {to_tensor(table.cos, table, device), to_tensor(table.sin, table, device)};
}

void apply_rotary(const at::Tensor& in, const RotaryTensors& rotary, const at::Tensor& out) {
  const std::int64_t pairs = rotary.cos.size(1);
  const std::int64_t head_dim = in.size(2);
  const at::Tensor source = in.transpose(0, 1);
  const at::Tensor first = source.narrow(2, 0, pairs).to(at::kFloat);
  const at::Tensor second = source.narrow(2, pairs, pairs).to(at::kFloat);
  // float32 out: multiplied in place, no temporaries; otherwise one rounding when copied.
  const auto turned = [&](const at::Tensor& kept, const at::Tensor& crossed, double sign, const at::Tensor& target) {
    if (target.scalar_type() == at::kFloat) {
      at::Tensor destination = target;
      at::mul_out(destination, kept, rotary.cos).addcmul_(crossed, rotary.sin, sign);
    } else {
      target.copy_(at::mul(kept, rotary.cos).addcmul_(crossed, rotary.sin, sign));
    }
  };
  turned(first, second, -1.0, out.narrow(2, 0, pairs));
  turned(second, first, 1.0, out.narrow(2, pairs, pairs));
  const std::int64_t rotary_dim = 2 * pairs;
  if (rotary_dim < head_dim) {
    out.narrow(2, rotary_dim, head_dim - rotary_dim).copy_(source.narrow(2, rotary_dim, head_dim - rotary_dim));
  }
}

}  // namespace longrope

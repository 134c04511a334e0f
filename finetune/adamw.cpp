#include "finetune/adamw.h"

#include <ATen/ATen.h>

#include <utility>

namespace longrope {

AdamWOptions adamw_options(const TrainingSettings& settings) {
  return {.beta1 = settings.beta1,
          .beta2 = settings.beta2,
          .epsilon = settings.epsilon,
          .weight_decay = settings.weight_decay};
}

AdamW::AdamW(std::vector<NamedTensor> parameters, const AdamWOptions& options) : options_(options) {
  for (NamedTensor& parameter : parameters) {
    const at::Tensor values = parameter.tensor.detach();
    slots_.push_back({std::move(parameter), at::zeros_like(values), at::zeros_like(values)});
  }
}

std::vector<at::Tensor> AdamW::gradients() const {
  std::vector<at::Tensor> found;
  for (const Slot& slot : slots_) {
    if (slot.parameter.tensor.grad().defined()) found.push_back(slot.parameter.tensor.grad());
  }
  return found;
}

double AdamW::clip_gradients(double max_norm) const {
  constexpr double kTorchsGuard = 1e-6;  // keeps clip_grad_norm_ from dividing by a norm of zero
  const std::vector<at::Tensor> scaled = gradients();
  const at::Tensor norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(scaled, 2.0)), 2.0);
  const auto value = norm.item<double>();
  if (max_norm > 0.0 && value + kTorchsGuard > max_norm) at::_foreach_mul_(scaled, max_norm / (value + kTorchsGuard));
  return value;
}

void AdamW::update(double learning_rate) {
  ++updates_;
  for (const bool decayed : {true, false}) {
    std::vector<at::Tensor> parameters;
    std::vector<at::Tensor> gradients;
    std::vector<at::Tensor> first_moments;
    std::vector<at::Tensor> second_moments;
    std::vector<at::Tensor> counts;  // number of updates, once for each parameter
    for (Slot& slot : slots_) {
      const at::Tensor& parameter = slot.parameter.tensor;
      if ((parameter.dim() > 1) != decayed || !parameter.grad().defined()) continue;
      parameters.push_back(parameter.detach());  // shares the memory
      gradients.push_back(parameter.grad());
      first_moments.push_back(slot.first_moment);
      second_moments.push_back(slot.second_moment);
      counts.push_back(at::full({}, static_cast<double>(updates_),
                                at::TensorOptions().dtype(at::kFloat).device(parameter.device())));
    }
    if (parameters.empty()) continue;
    at::_fused_adamw_(parameters, gradients, first_moments, second_moments, /*max_exp_avg_sqs=*/{}, counts,
                      learning_rate, options_.beta1, options_.beta2, decayed ? options_.weight_decay : 0.0,
                      options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  }
  for (at::Tensor& gradient : gradients()) gradient.zero_();
}

std::vector<NamedTensor> AdamW::state() const {
  std::vector<NamedTensor> tensors;
  for (const Slot& slot : slots_) {
    const std::string& name = slot.parameter.name;
    tensors.push_back({"parameter." + name, slot.parameter.tensor.detach()});
    tensors.push_back({"first_moment." + name, slot.first_moment});
    tensors.push_back({"second_moment." + name, slot.second_moment});
  }
  return tensors;
}

}  // namespace longrope

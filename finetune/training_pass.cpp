#include "finetune/training_pass.h"

#include "finetune/attention.h"
#include "finetune/deterministic_algorithms.h"
#include "finetune/rotation.h"
#include "finetune/training_memory.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

namespace longrope {
namespace {

/// A leaf of its own graph, with the same values.
at::Tensor leaf(const at::Tensor& values) { return values.detach().requires_grad_(); }

}  // namespace

TrainingPass::TrainingPass(const ModelDescription& model, ModelParameters parameters,
                           const TrainingArithmetic& arithmetic)
    : model_(model), parameters_(std::move(parameters)), arithmetic_(arithmetic) {}

double TrainingPass::accumulate_gradients(const at::Tensor& tokens, const at::Tensor& labels,
                                          const RescaleFactors& factors, double weight) const {
  const at::Device device = parameters_.embedding.device();
  const DeterministicAlgorithms deterministic(device);
  const RotaryFrequencies frequencies(model_.geometry, factors, arithmetic_.angles, "factors of the training");
  const RotaryRows rotary = rotary_rows(frequencies, 0, tokens.size(1), device);
  const at::Tensor embedded = at::embedding(parameters_.embedding, tokens);  // [B, T, hidden]

  // Each layer is a graph of its own, from a leaf to its output; what joins them is the loops of this function.
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> outputs;  // empty with recomputation
  at::Tensor residual = embedded.detach();
  for (const LayerWeights& weights : parameters_.layers) {
    inputs.push_back(leaf(residual));
    const c10::AutoGradMode keep_graph(!arithmetic_.recompute);
    residual = layer_output(weights, inputs.back(), rotary);
    if (!arithmetic_.recompute) outputs.push_back(residual);
  }
  double nll_sum = 0.0;
  at::Tensor gradient =
      loss_gradient(residual.detach().view({-1, model_.hidden_size}), labels.reshape({-1}), weight, nll_sum)
          .view_as(residual);
  for (std::size_t index = parameters_.layers.size(); index-- > 0;) {
    at::Tensor output;
    if (arithmetic_.recompute) {
      output = layer_output(parameters_.layers[index], inputs[index], rotary);
    } else {
      output = std::move(outputs[index]);
      outputs.pop_back();
    }
    output.backward(gradient);
    gradient = inputs[index].grad();
    inputs.pop_back();
  }
  embedded.backward(gradient);
  return nll_sum;
}

at::Tensor TrainingPass::layer_output(const LayerWeights& weights, const at::Tensor& residual,
                                      const RotaryRows& rotary) const {
  const at::Tensor attended = residual + attention(weights, norm(residual, weights.attention_norm), rotary);
  return attended + feed_forward(weights, norm(attended, weights.feed_forward_norm));
}

at::Tensor TrainingPass::attention(const LayerWeights& weights, const at::Tensor& normed,
                                   const RotaryRows& rotary) const {
  const std::int64_t query_heads = model_.query_heads;
  const std::int64_t key_value_heads = model_.key_value_heads;
  // Split, not narrowed: the gradients of the parts are then put together, not added up.
  const std::vector<at::Tensor> heads = linear(normed, weights.query_key_value)
                                            .view({normed.size(0), normed.size(1), -1, model_.head_dim})
                                            .split_with_sizes({query_heads, key_value_heads, key_value_heads}, 2);
  const auto turned = [&](const at::Tensor& part, const at::Tensor& head_norm) {
    const at::Tensor scaled = head_norm.defined() ? norm(part, head_norm).to(part.scalar_type()) : part;
    return rotated(scaled, rotary);
  };
  const CpuKernels* const kernels = kernels_for({.device = normed.device(), .products = arithmetic_.products});
  const at::Tensor mixed =
      attended(turned(heads[0], weights.query_norm), turned(heads[1], weights.key_norm), heads[2], kernels);
  return linear(mixed.reshape({normed.size(0), normed.size(1), -1}), weights.attention_output);
}

at::Tensor TrainingPass::feed_forward(const LayerWeights& weights, const at::Tensor& normed) const {
  const std::vector<at::Tensor> gate_up = linear(normed, weights.gate_up).chunk(2, /*dim=*/-1);
  return linear(at::silu(gate_up[0]) * gate_up[1], weights.down);
}

at::Tensor TrainingPass::norm(const at::Tensor& in, const at::Tensor& weight) const {
  return at::rms_norm(in.to(at::kFloat), weight.sizes(), weight, model_.rms_norm_epsilon);
}

at::Tensor TrainingPass::linear(const at::Tensor& in, const LinearWeights& weights) const {
  const at::ScalarType products = arithmetic_.products;
  return at::linear(in.to(products), weights.weight.to(products),
                    weights.bias.defined() ? weights.bias.to(products) : weights.bias);
}

at::Tensor TrainingPass::loss_gradient(const at::Tensor& residual, const at::Tensor& labels, double weight,
                                       double& nll_sum) const {
  const at::Tensor gradient = at::empty_like(residual);
  for (std::int64_t begin = 0; begin < residual.size(0); begin += kLossRows) {
    const std::int64_t count = std::min(kLossRows, residual.size(0) - begin);
    const at::Tensor rows = leaf(residual.narrow(0, begin, count));
    const at::Tensor logits =
        linear(norm(rows, parameters_.final_norm), {.weight = parameters_.output_embedding, .bias = {}});
    const at::Tensor nll = at::cross_entropy_loss(logits.to(at::kFloat), labels.narrow(0, begin, count), /*weight=*/{},
                                                  at::Reduction::Sum, kIgnoredLabel);
    nll_sum += nll.item<double>();
    (nll * weight).backward();
    gradient.narrow(0, begin, count).copy_(rows.grad());
  }
  return gradient;
}

}  // namespace longrope

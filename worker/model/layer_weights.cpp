#include "worker/model/layer_weights.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <string_view>

namespace longrope {

LayerWeights make_layer(const TensorSource& source, const ModelDescription& model, std::int64_t index) {
  const std::int64_t hidden = model.hidden_size;
  const auto load = [&](std::string_view name, const std::vector<std::int64_t>& shape) {
    return source(layer_tensor_name(index, name), shape);
  };
  const auto linear = [&](const ProjectionTensors& projection) {
    std::vector<at::Tensor> weights;
    std::vector<at::Tensor> biases;
    for (const auto& [name, outputs] : projection.parts) {
      weights.push_back(load(fmt::format("{}.weight", name), {outputs, projection.inputs}));
      if (projection.has_bias) biases.push_back(load(fmt::format("{}.bias", name), {outputs}));
    }
    return LinearWeights{.weight = weights.size() == 1 ? weights.front() : at::cat(weights),
                         .bias = projection.has_bias ? at::cat(biases) : at::Tensor()};
  };
  const auto head_norm = [&](std::string_view name) {
    return model.query_key_norm ? load(name, {model.head_dim}) : at::Tensor();
  };
  const LayerProjections projections = layer_projections(model);
  return {.attention_norm = load(kAttentionNormName, {hidden}),
          .query_key_value = linear(projections.query_key_value),
          .query_norm = head_norm(kQueryNormName),
          .key_norm = head_norm(kKeyNormName),
          .attention_output = linear(projections.attention_output),
          .feed_forward_norm = load(kFeedForwardNormName, {hidden}),
          .gate_up = linear(projections.gate_up),
          .down = linear(projections.down)};
}

LayerWeights load_layer(Checkpoint& checkpoint, const ModelDescription& model, std::int64_t index,
                        const Placement& placement) {
  return make_layer(
      [&](const std::string& name, const std::vector<std::int64_t>& shape) {
        return checkpoint.load(name, shape, placement.weights, placement.device);
      },
      model, index);
}

void require_no_tensor_left(const Checkpoint& checkpoint, const ModelDescription& model) {
  checkpoint.require_all_loaded(ignored_tensors(model));
}

std::vector<NamedTensor> checkpoint_tensors(const LayerWeights& layer, const ModelDescription& model,
                                            std::int64_t index) {
  std::vector<NamedTensor> tensors;
  const auto add = [&](std::string_view name, const at::Tensor& tensor) {
    if (tensor.defined()) tensors.push_back({layer_tensor_name(index, name), tensor});
  };
  const auto add_linear = [&](const ProjectionTensors& projection, const LinearWeights& weights) {
    std::int64_t first = 0;
    for (const auto& [name, outputs] : projection.parts) {
      add(fmt::format("{}.weight", name), weights.weight.narrow(0, first, outputs));
      if (weights.bias.defined()) add(fmt::format("{}.bias", name), weights.bias.narrow(0, first, outputs));
      first += outputs;
    }
  };
  const LayerProjections projections = layer_projections(model);
  add(kAttentionNormName, layer.attention_norm);
  add_linear(projections.query_key_value, layer.query_key_value);
  add(kQueryNormName, layer.query_norm);
  add(kKeyNormName, layer.key_norm);
  add_linear(projections.attention_output, layer.attention_output);
  add(kFeedForwardNormName, layer.feed_forward_norm);
  add_linear(projections.gate_up, layer.gate_up);
  add_linear(projections.down, layer.down);
  return tensors;
}

}  // namespace longrope

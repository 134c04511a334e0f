#include "worker/model/layer_weights.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <string_view>
#include <vector>

namespace longrope {
namespace {

/// Rows of a projection that one tensor of the checkpoint holds.
struct Part {
  const char* name;
  std::int64_t outputs;
};

}  // namespace

LayerWeights load_layer(Checkpoint& checkpoint, const ModelDescription& model, std::int64_t index,
                        const Placement& placement) {
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t intermediate = model.intermediate_size;
  const std::int64_t query = model.query_heads * model.head_dim;
  const std::int64_t key_value = model.key_value_heads * model.head_dim;
  const auto load = [&](std::string_view name, const std::vector<std::int64_t>& shape) {
    return checkpoint.load(fmt::format("model.layers.{}.{}", index, name), shape, placement.weights, placement.device);
  };
  const auto linear = [&](const std::vector<Part>& parts, std::int64_t inputs, bool has_bias) {
    std::vector<at::Tensor> weights;
    std::vector<at::Tensor> biases;
    for (const auto& [name, outputs] : parts) {
      weights.push_back(load(fmt::format("{}.weight", name), {outputs, inputs}));
      if (has_bias) biases.push_back(load(fmt::format("{}.bias", name), {outputs}));
    }
    return LinearWeights{.weight = weights.size() == 1 ? weights.front() : at::cat(weights),
                         .bias = has_bias ? at::cat(biases) : at::Tensor()};
  };
  const auto head_norm = [&](std::string_view name) {
    return model.query_key_norm ? load(name, {model.head_dim}) : at::Tensor();
  };
  using Parts = std::vector<Part>;
  const Parts query_key_value =
      model.fused_projections
          ? Parts{{"self_attn.qkv_proj", query + 2 * key_value}}
          : Parts{{"self_attn.q_proj", query}, {"self_attn.k_proj", key_value}, {"self_attn.v_proj", key_value}};
  const Parts gate_up = model.fused_projections ? Parts{{"mlp.gate_up_proj", 2 * intermediate}}
                                                : Parts{{"mlp.gate_proj", intermediate}, {"mlp.up_proj", intermediate}};
  return {.attention_norm = load("input_layernorm.weight", {hidden}),
          .query_key_value = linear(query_key_value, hidden, model.query_key_value_bias),
          .query_norm = head_norm("self_attn.q_norm.weight"),
          .key_norm = head_norm("self_attn.k_norm.weight"),
          .attention_output = linear({{"self_attn.o_proj", hidden}}, query, model.attention_output_bias),
          .feed_forward_norm = load("post_attention_layernorm.weight", {hidden}),
          .gate_up = linear(gate_up, hidden, model.feed_forward_bias),
          .down = linear({{"mlp.down_proj", hidden}}, intermediate, model.feed_forward_bias)};
}

}  // namespace longrope

#include "worker/model/layer_weights.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <set>
#include <string_view>

namespace longrope {
namespace {

/// Rows of a projection that one tensor of the checkpoint holds.
struct Part {
  const char* name;
  std::int64_t outputs;
};
using Parts = std::vector<Part>;

Parts query_key_value_parts(const ModelDescription& model) {
  const std::int64_t query = model.query_width();
  const std::int64_t key_value = model.key_value_width();
  if (model.fused_projections) return {{"self_attn.qkv_proj", query + 2 * key_value}};
  return {{"self_attn.q_proj", query}, {"self_attn.k_proj", key_value}, {"self_attn.v_proj", key_value}};
}

Parts gate_up_parts(const ModelDescription& model) {
  const std::int64_t intermediate = model.intermediate_size;
  if (model.fused_projections) return {{"mlp.gate_up_proj", 2 * intermediate}};
  return {{"mlp.gate_proj", intermediate}, {"mlp.up_proj", intermediate}};
}

Parts attention_output_parts(const ModelDescription& model) { return {{"self_attn.o_proj", model.hidden_size}}; }
Parts down_parts(const ModelDescription& model) { return {{"mlp.down_proj", model.hidden_size}}; }

constexpr const char* kAttentionNorm = "input_layernorm.weight";
constexpr const char* kFeedForwardNorm = "post_attention_layernorm.weight";
constexpr const char* kQueryNorm = "self_attn.q_norm.weight";
constexpr const char* kKeyNorm = "self_attn.k_norm.weight";

std::string full_name(std::int64_t index, std::string_view name) {
  return fmt::format("model.layers.{}.{}", index, name);
}

}  // namespace

LayerWeights make_layer(const TensorSource& source, const ModelDescription& model, std::int64_t index) {
  const std::int64_t hidden = model.hidden_size;
  const auto load = [&](std::string_view name, const std::vector<std::int64_t>& shape) {
    return source(full_name(index, name), shape);
  };
  const auto linear = [&](const Parts& parts, std::int64_t inputs, bool has_bias) {
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
  return {.attention_norm = load(kAttentionNorm, {hidden}),
          .query_key_value = linear(query_key_value_parts(model), hidden, model.query_key_value_bias),
          .query_norm = head_norm(kQueryNorm),
          .key_norm = head_norm(kKeyNorm),
          .attention_output = linear(attention_output_parts(model), model.query_width(), model.attention_output_bias),
          .feed_forward_norm = load(kFeedForwardNorm, {hidden}),
          .gate_up = linear(gate_up_parts(model), hidden, model.feed_forward_bias),
          .down = linear(down_parts(model), model.intermediate_size, model.feed_forward_bias)};
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
  // Old checkpoints store the base inverse frequencies; tied ones may store the shared matrix a second time.
  std::set<std::string> ignored = {".rotary_emb.inv_freq"};
  if (model.tied_embeddings) ignored.insert(kOutputEmbeddingName);
  checkpoint.require_all_loaded(ignored);
}

std::vector<NamedTensor> checkpoint_tensors(const LayerWeights& layer, const ModelDescription& model,
                                            std::int64_t index) {
  std::vector<NamedTensor> tensors;
  const auto add = [&](std::string_view name, const at::Tensor& tensor) {
    if (tensor.defined()) tensors.push_back({full_name(index, name), tensor});
  };
  const auto add_linear = [&](const Parts& parts, const LinearWeights& weights) {
    std::int64_t first = 0;
    for (const auto& [name, outputs] : parts) {
      add(fmt::format("{}.weight", name), weights.weight.narrow(0, first, outputs));
      if (weights.bias.defined()) add(fmt::format("{}.bias", name), weights.bias.narrow(0, first, outputs));
      first += outputs;
    }
  };
  add(kAttentionNorm, layer.attention_norm);
  add_linear(query_key_value_parts(model), layer.query_key_value);
  add(kQueryNorm, layer.query_norm);
  add(kKeyNorm, layer.key_norm);
  add_linear(attention_output_parts(model), layer.attention_output);
  add(kFeedForwardNorm, layer.feed_forward_norm);
  add_linear(gate_up_parts(model), layer.gate_up);
  add_linear(down_parts(model), layer.down);
  return tensors;
}

}  // namespace longrope

#include "worker/model/transformer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "worker/model/attention.h"
#include "worker/model/rotary_embedding.h"

namespace longrope {
namespace {

/// `out` [rows, out] = in·weightᵀ + bias; `bias` [out] may be undefined.
void write_product(const at::Tensor& in, const at::Tensor& weight, const at::Tensor& bias, at::Tensor out) {
  if (bias.defined()) {
    at::addmm_out(out, bias, in, weight.t());
  } else {
    at::mm_out(out, in, weight.t());
  }
}

/// `residual` += in·weightᵀ + bias.
void add_product(const at::Tensor& in, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& residual) {
  residual.addmm_(in, weight.t());
  if (bias.defined()) residual.add_(bias);
}

}  // namespace

/// Buffers of one document, allocated once: fresh pages for every tile would cost as much as the arithmetic in them.
struct Transformer::Activations {
  Activations(const ModelDescription& model, std::int64_t tokens, const at::TensorOptions& options)
      : residual(at::empty({tokens, model.hidden_size}, options)),
        query(at::empty({model.query_heads, tokens, model.head_dim}, options)),
        key(at::empty({model.key_value_heads, tokens, model.head_dim}, options)),
        value(at::empty({model.key_value_heads, tokens, model.head_dim}, options)) {
    const std::int64_t tile = std::min(tokens, kTileTokens);
    const std::int64_t heads = model.query_heads + 2 * model.key_value_heads;
    projected = at::empty({tile, heads * model.head_dim}, options);
    attended = at::empty({tile, model.query_heads * model.head_dim}, options);
    gate_up = at::empty({tile, 2 * model.intermediate_size}, options);
    gated = at::empty({tile, model.intermediate_size}, options);
  }

  // H = query heads, K = key-value heads, T = tokens, D = head_dim.
  at::Tensor residual;  // [T, hidden]
  at::Tensor query;     // [H, T, D]; after attention, its result
  at::Tensor key;       // [K, T, D]
  at::Tensor value;     // [K, T, D]
  // Tiles: [tile, ...].
  at::Tensor projected;
  at::Tensor attended;
  at::Tensor gate_up;
  at::Tensor gated;
  RotaryTensors rotary;
};

Transformer::Transformer(const ModelDescription& description, Checkpoint& checkpoint, const Placement& placement)
    : description_(description), placement_(placement) {
  const ModelDescription& model = description_;
  const auto load = [&](const char* name, const std::vector<std::int64_t>& shape) {
    return checkpoint.load(name, shape, placement_.weights, placement_.device);
  };
  embedding_ = load("model.embed_tokens.weight", {model.vocabulary, model.hidden_size});
  final_norm_ = load("model.norm.weight", {model.hidden_size}).to(placement_.arithmetic);
  output_embedding_ =
      model.tied_embeddings ? embedding_ : load("lm_head.weight", {model.vocabulary, model.hidden_size});
  for (std::int64_t index = 0; index < model.layers; ++index) layers_.push_back(load_layer(checkpoint, index));
  // Old checkpoints store the base inverse frequencies; tied ones may store the shared matrix a second time.
  std::set<std::string> ignored = {".rotary_emb.inv_freq"};
  if (model.tied_embeddings) ignored.insert("lm_head.weight");
  checkpoint.require_all_loaded(ignored);
}

Transformer::Layer Transformer::load_layer(Checkpoint& checkpoint, std::int64_t index) const {
  const ModelDescription& model = description_;
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t intermediate = model.intermediate_size;
  const std::int64_t query = model.query_heads * model.head_dim;
  const std::int64_t key_value = model.key_value_heads * model.head_dim;
  const auto load = [&](std::string_view name, const std::vector<std::int64_t>& shape) {
    return checkpoint.load(fmt::format("model.layers.{}.{}", index, name), shape, placement_.weights,
                           placement_.device);
  };
  struct Rows {
    const char* name;
    std::int64_t count;
  };
  // One matrix of the rows of all `parts`, whether the checkpoint holds them in one tensor or in several.
  const auto projection = [&](const std::vector<Rows>& parts, std::int64_t columns, bool has_bias) {
    std::vector<at::Tensor> weights;
    std::vector<at::Tensor> biases;
    for (const auto& [name, count] : parts) {
      weights.push_back(load(fmt::format("{}.weight", name), {count, columns}));
      if (has_bias) biases.push_back(load(fmt::format("{}.bias", name), {count}));
    }
    return Projection{.weight = weights.size() == 1 ? weights.front() : at::cat(weights),
                      .bias = has_bias ? at::cat(biases) : at::Tensor()};
  };
  using Parts = std::vector<Rows>;
  const Parts query_key_value =
      model.fused_projections
          ? Parts{{"self_attn.qkv_proj", query + 2 * key_value}}
          : Parts{{"self_attn.q_proj", query}, {"self_attn.k_proj", key_value}, {"self_attn.v_proj", key_value}};
  const Parts gate_up = model.fused_projections ? Parts{{"mlp.gate_up_proj", 2 * intermediate}}
                                                : Parts{{"mlp.gate_proj", intermediate}, {"mlp.up_proj", intermediate}};
  const auto head_norm = [&](std::string_view name) {
    return model.query_key_norm ? load(name, {model.head_dim}) : at::Tensor();
  };
  return {.attention_norm = load("input_layernorm.weight", {hidden}),
          .query_key_value = projection(query_key_value, hidden, model.query_key_value_bias),
          .query_norm = head_norm("self_attn.q_norm.weight"),
          .key_norm = head_norm("self_attn.k_norm.weight"),
          .attention_output = projection({{"self_attn.o_proj", hidden}}, query, model.attention_output_bias),
          .feed_forward_norm = load("post_attention_layernorm.weight", {hidden}),
          .gate_up = projection(gate_up, hidden, model.feed_forward_bias),
          .down = projection({{"mlp.down_proj", hidden}}, intermediate, model.feed_forward_bias)};
}

Transformer::Layer Transformer::in_arithmetic(const Layer& layer) const {
  const auto tensor = [this](const at::Tensor& stored) {
    return stored.defined() ? stored.to(placement_.arithmetic) : stored;
  };
  const auto projection = [&](const Projection& stored) {
    return Projection{.weight = tensor(stored.weight), .bias = tensor(stored.bias)};
  };
  return {.attention_norm = tensor(layer.attention_norm),
          .query_key_value = projection(layer.query_key_value),
          .query_norm = tensor(layer.query_norm),
          .key_norm = tensor(layer.key_norm),
          .attention_output = projection(layer.attention_output),
          .feed_forward_norm = tensor(layer.feed_forward_norm),
          .gate_up = projection(layer.gate_up),
          .down = projection(layer.down)};
}

at::Tensor Transformer::normed(const at::Tensor& rows, const at::Tensor& weight) const {
  return at::rms_norm(rows, weight.sizes(), weight, description_.rms_norm_epsilon);
}

at::Tensor Transformer::residual_stream(std::span<const std::int32_t> tokens, const RotaryTable& rotary,
                                        const std::function<void()>& tile_finished) const {
  const auto length = static_cast<std::int64_t>(tokens.size());
  const at::TensorOptions options = at::TensorOptions().dtype(placement_.arithmetic).device(placement_.device);
  Activations activations(description_, length, options);
  activations.rotary = to_device(rotary, placement_.device);

  const at::Tensor token_ids = at::empty({length}, at::TensorOptions().dtype(at::kInt));
  std::ranges::copy(tokens, token_ids.data_ptr<std::int32_t>());
  activations.residual.copy_(embedding_.index_select(0, token_ids.to(placement_.device)));

  const auto for_each_tile = [&](const auto& process) {
    for (std::int64_t begin = 0; begin < length; begin += kTileTokens) {
      process(begin, std::min(kTileTokens, length - begin));
      tile_finished();
    }
  };
  for (std::size_t index = 0; index < layers_.size(); ++index) {
    const Layer layer = in_arithmetic(layers_[index]);
    for_each_tile(
        [&](std::int64_t begin, std::int64_t count) { project_queries_keys_values(layer, activations, begin, count); });
    causal_attention_in_place(activations.query, activations.key, activations.value,
                              description_.sliding_windows[index], tile_finished);
    for_each_tile([&](std::int64_t begin, std::int64_t count) {
      add_attention_and_feed_forward(layer, activations, begin, count);
    });
  }
  return activations.residual;
}

void Transformer::project_queries_keys_values(const Layer& layer, Activations& activations, std::int64_t begin,
                                              std::int64_t count) const {
  const ModelDescription& model = description_;
  const at::Tensor projected = activations.projected.narrow(0, 0, count);
  write_product(normed(activations.residual.narrow(0, begin, count), layer.attention_norm),
                layer.query_key_value.weight, layer.query_key_value.bias, projected);
  const at::Tensor heads = projected.view({count, -1, model.head_dim});
  const RotaryTensors rotary = {activations.rotary.cos.narrow(0, begin, count),
                                activations.rotary.sin.narrow(0, begin, count)};
  const auto rotate = [&](const at::Tensor& unturned, const at::Tensor& norm, const at::Tensor& out) {
    apply_rotary(norm.defined() ? normed(unturned, norm) : unturned, rotary, out.narrow(1, begin, count));
  };
  rotate(heads.narrow(1, 0, model.query_heads), layer.query_norm, activations.query);
  rotate(heads.narrow(1, model.query_heads, model.key_value_heads), layer.key_norm, activations.key);
  activations.value.narrow(1, begin, count)
      .copy_(heads.narrow(1, model.query_heads + model.key_value_heads, model.key_value_heads).transpose(0, 1));
}

void Transformer::add_attention_and_feed_forward(const Layer& layer, Activations& activations, std::int64_t begin,
                                                 std::int64_t count) const {
  const ModelDescription& model = description_;
  at::Tensor residual = activations.residual.narrow(0, begin, count);
  const at::Tensor attended = activations.attended.narrow(0, 0, count);
  attended.view({count, model.query_heads, model.head_dim})
      .copy_(activations.query.narrow(1, begin, count).transpose(0, 1));
  add_product(attended, layer.attention_output.weight, layer.attention_output.bias, residual);

  const at::Tensor gate_up = activations.gate_up.narrow(0, 0, count);
  write_product(normed(residual, layer.feed_forward_norm), layer.gate_up.weight, layer.gate_up.bias, gate_up);
  at::Tensor gated = activations.gated.narrow(0, 0, count);
  at::silu_out(gated, gate_up.narrow(1, 0, model.intermediate_size));
  gated.mul_(gate_up.narrow(1, model.intermediate_size, model.intermediate_size));
  add_product(gated, layer.down.weight, layer.down.bias, residual);
}

at::Tensor Transformer::final_norm(const at::Tensor& residual) const { return normed(residual, final_norm_); }

}  // namespace longrope

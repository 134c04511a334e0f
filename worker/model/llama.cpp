#include "worker/model/llama.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "worker/model/attention.h"
#include "worker/model/rotary_embedding.h"

namespace longrope {

/// Buffers of one document, allocated once: fresh pages for every tile would cost as much as the arithmetic in them.
struct Llama::Activations {
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

Llama::Llama(const ModelDescription& description, Checkpoint& checkpoint, const Placement& placement)
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

Llama::Layer Llama::load_layer(Checkpoint& checkpoint, std::int64_t index) const {
  const ModelDescription& model = description_;
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t query = model.query_heads * model.head_dim;
  const std::int64_t key_value = model.key_value_heads * model.head_dim;
  const auto load = [&](const char* name, const std::vector<std::int64_t>& shape) {
    return checkpoint.load(fmt::format("model.layers.{}.{}.weight", index, name), shape, placement_.weights,
                           placement_.device);
  };
  return {.attention_norm = load("input_layernorm", {hidden}),
          .query_key_value =
              at::cat({load("self_attn.q_proj", {query, hidden}), load("self_attn.k_proj", {key_value, hidden}),
                       load("self_attn.v_proj", {key_value, hidden})}),
          .attention_output = load("self_attn.o_proj", {hidden, query}),
          .feed_forward_norm = load("post_attention_layernorm", {hidden}),
          .gate_up = at::cat({load("mlp.gate_proj", {model.intermediate_size, hidden}),
                              load("mlp.up_proj", {model.intermediate_size, hidden})}),
          .down = load("mlp.down_proj", {hidden, model.intermediate_size})};
}

Llama::Layer Llama::in_arithmetic(const Layer& layer) const {
  const auto convert = [this](const at::Tensor& tensor) { return tensor.to(placement_.arithmetic); };
  return {convert(layer.attention_norm),    convert(layer.query_key_value), convert(layer.attention_output),
          convert(layer.feed_forward_norm), convert(layer.gate_up),         convert(layer.down)};
}

at::Tensor Llama::residual_stream(std::span<const std::int32_t> tokens, const RotaryTable& rotary,
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
  for (const Layer& stored : layers_) {
    const Layer layer = in_arithmetic(stored);
    for_each_tile(
        [&](std::int64_t begin, std::int64_t count) { project_queries_keys_values(layer, activations, begin, count); });
    causal_attention_in_place(activations.query, activations.key, activations.value, tile_finished);
    for_each_tile([&](std::int64_t begin, std::int64_t count) {
      add_attention_and_feed_forward(layer, activations, begin, count);
    });
  }
  return activations.residual;
}

void Llama::project_queries_keys_values(const Layer& layer, Activations& activations, std::int64_t begin,
                                        std::int64_t count) const {
  const ModelDescription& model = description_;
  const at::Tensor normed = at::rms_norm(activations.residual.narrow(0, begin, count), {model.hidden_size},
                                         layer.attention_norm, model.rms_norm_epsilon);
  at::Tensor projected = activations.projected.narrow(0, 0, count);
  at::mm_out(projected, normed, layer.query_key_value.t());
  const at::Tensor heads = projected.view({count, -1, model.head_dim});
  const RotaryTensors rotary = {activations.rotary.cos.narrow(0, begin, count),
                                activations.rotary.sin.narrow(0, begin, count)};
  apply_rotary(heads.narrow(1, 0, model.query_heads), rotary, activations.query.narrow(1, begin, count));
  apply_rotary(heads.narrow(1, model.query_heads, model.key_value_heads), rotary,
               activations.key.narrow(1, begin, count));
  activations.value.narrow(1, begin, count)
      .copy_(heads.narrow(1, model.query_heads + model.key_value_heads, model.key_value_heads).transpose(0, 1));
}

void Llama::add_attention_and_feed_forward(const Layer& layer, Activations& activations, std::int64_t begin,
                                           std::int64_t count) const {
  const ModelDescription& model = description_;
  at::Tensor residual = activations.residual.narrow(0, begin, count);
  const at::Tensor attended = activations.attended.narrow(0, 0, count);
  attended.view({count, model.query_heads, model.head_dim})
      .copy_(activations.query.narrow(1, begin, count).transpose(0, 1));
  residual.addmm_(attended, layer.attention_output.t());

  const at::Tensor normed =
      at::rms_norm(residual, {model.hidden_size}, layer.feed_forward_norm, model.rms_norm_epsilon);
  at::Tensor gate_up = activations.gate_up.narrow(0, 0, count);
  at::mm_out(gate_up, normed, layer.gate_up.t());
  at::Tensor gated = activations.gated.narrow(0, 0, count);
  at::silu_out(gated, gate_up.narrow(1, 0, model.intermediate_size));
  gated.mul_(gate_up.narrow(1, model.intermediate_size, model.intermediate_size));
  residual.addmm_(gated, layer.down.t());
}

at::Tensor Llama::final_norm(const at::Tensor& residual) const {
  return at::rms_norm(residual, {description_.hidden_size}, final_norm_, description_.rms_norm_epsilon);
}

}  // namespace longrope

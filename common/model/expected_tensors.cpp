#include "common/model/expected_tensors.h"

#include "common/error.h"
#include "common/model/checkpoint_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <span>

namespace longrope {
namespace {

/// torch.equal() on the bits of floating-point numbers, for all but NaN: equal bits, or two zeros.
template <typename Bits>
bool equal_numbers(std::span<const std::byte> a, std::span<const std::byte> b) {
  constexpr int kSignBit = 8 * sizeof(Bits) - 1;
  for (std::size_t begin = 0; begin < a.size(); begin += sizeof(Bits)) {
    Bits x = 0;
    Bits y = 0;
    std::memcpy(&x, a.data() + begin, sizeof(Bits));
    std::memcpy(&y, b.data() + begin, sizeof(Bits));
    const bool zeros = ((x | y) & ~(Bits{1} << kSignBit)) == 0;
    if (x != y && !zeros) return false;
  }
  return true;
}

bool comparable(const TensorView& a, const TensorView& b) { return a.dtype == b.dtype && a.shape == b.shape; }

void add_projection(std::int64_t layer, const ProjectionTensors& projection, std::vector<ExpectedTensor>& tensors) {
  for (const auto& [name, outputs] : projection.parts) {
    const std::string full = layer_tensor_name(layer, name);
    tensors.push_back({full + ".weight", {outputs, projection.inputs}});
    if (projection.has_bias) tensors.push_back({full + ".bias", {outputs}});
  }
}

}  // namespace

LayerProjections layer_projections(const ModelDescription& model) {
  const std::int64_t query = model.query_width();
  const std::int64_t key_value = model.key_value_width();
  const std::int64_t intermediate = model.intermediate_size;
  LayerProjections layer = {
      .query_key_value = {.inputs = model.hidden_size, .has_bias = model.query_key_value_bias},
      .attention_output = {{{"self_attn.o_proj", model.hidden_size}}, query, model.attention_output_bias},
      .gate_up = {.inputs = model.hidden_size, .has_bias = model.feed_forward_bias},
      .down = {{{"mlp.down_proj", model.hidden_size}}, intermediate, model.feed_forward_bias}};
  if (model.fused_projections) {
    layer.query_key_value.parts = {{"self_attn.qkv_proj", query + 2 * key_value}};
    layer.gate_up.parts = {{"mlp.gate_up_proj", 2 * intermediate}};
  } else {
    layer.query_key_value.parts = {
        {"self_attn.q_proj", query}, {"self_attn.k_proj", key_value}, {"self_attn.v_proj", key_value}};
    layer.gate_up.parts = {{"mlp.gate_proj", intermediate}, {"mlp.up_proj", intermediate}};
  }
  return layer;
}

std::string layer_tensor_name(std::int64_t index, std::string_view name) {
  return fmt::format("model.layers.{}.{}", index, name);
}

std::vector<ExpectedTensor> expected_tensors(const ModelDescription& model) {
  const std::vector<std::int64_t> words = {model.vocabulary, model.hidden_size};
  std::vector<ExpectedTensor> tensors = {{kEmbeddingName, words}, {kFinalNormName, {model.hidden_size}}};
  if (!model.tied_embeddings) tensors.push_back({kOutputEmbeddingName, words});
  const LayerProjections projections = layer_projections(model);
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    const auto add_norm = [&](const char* name, std::int64_t size) {
      tensors.push_back({layer_tensor_name(layer, name), {size}});
    };
    add_norm(kAttentionNormName, model.hidden_size);
    add_projection(layer, projections.query_key_value, tensors);
    if (model.query_key_norm) {
      add_norm(kQueryNormName, model.head_dim);
      add_norm(kKeyNormName, model.head_dim);
    }
    add_projection(layer, projections.attention_output, tensors);
    add_norm(kFeedForwardNormName, model.hidden_size);
    add_projection(layer, projections.gate_up, tensors);
    add_projection(layer, projections.down, tensors);
  }
  return tensors;
}

std::set<std::string> ignored_tensors(const ModelDescription& model) {
  // Old checkpoints store the base inverse frequencies; tied ones may store the shared matrix a second time.
  std::set<std::string> suffixes = {".rotary_emb.inv_freq"};
  if (model.tied_embeddings) suffixes.insert(kOutputEmbeddingName);
  return suffixes;
}

void require_usable_weights(const ModelDescription& model) {
  const CheckpointTensors tensors(model.directory);
  std::set<std::string> used;
  for (const auto& [name, shape] : expected_tensors(model)) {
    static_cast<void>(tensors.require(name, shape));
    used.insert(name);
  }
  const TensorView* const output = tensors.find(kOutputEmbeddingName);
  if (model.tied_embeddings && output != nullptr) {
    const TensorView& embedding = *tensors.find(kEmbeddingName);
    if (!comparable(*output, embedding)) {
      throw InputError(fmt::format(
          "lm_head.weight must have shape and dtype of the embedding where tie_word_embeddings is true: it is {} [{}], "
          "{} is {} [{}]; set tie_word_embeddings to false in config.json if the model has an lm_head of its own ({})",
          output->dtype, fmt::join(output->shape, ", "), kEmbeddingName, embedding.dtype,
          fmt::join(embedding.shape, ", "), tensors.file_of(kOutputEmbeddingName).native()));
    }
  }
  tensors.require_no_other(used, ignored_tensors(model));
}

bool has_own_output_embedding(const std::filesystem::path& directory) {
  try {
    const CheckpointTensors tensors(directory);
    const TensorView* const embedding = tensors.find(kEmbeddingName);
    const TensorView* const output = tensors.find(kOutputEmbeddingName);
    if (embedding == nullptr || output == nullptr || !comparable(*embedding, *output)) return false;
    const std::string& dtype = embedding->dtype;
    if (dtype == "F32") return !equal_numbers<std::uint32_t>(embedding->bytes, output->bytes);
    const bool two_bytes = dtype == "F16" || dtype == "BF16";
    return two_bytes && !equal_numbers<std::uint16_t>(embedding->bytes, output->bytes);
  } catch (const InputError&) {
    return false;  // weights that nobody can read; who wants them calls require_usable_weights()
  }
}

}  // namespace longrope

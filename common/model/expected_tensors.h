#pragma once

#include "common/model/model_description.h"

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

// Names of the tensors outside the layers.
inline constexpr const char* kEmbeddingName = "model.embed_tokens.weight";
inline constexpr const char* kFinalNormName = "model.norm.weight";
inline constexpr const char* kOutputEmbeddingName = "lm_head.weight";  // when not tied to the embedding

// Names of the norms within a layer.
inline constexpr const char* kAttentionNormName = "input_layernorm.weight";
inline constexpr const char* kFeedForwardNormName = "post_attention_layernorm.weight";
inline constexpr const char* kQueryNormName = "self_attn.q_norm.weight";
inline constexpr const char* kKeyNormName = "self_attn.k_norm.weight";

/// A linear map, whose rows lie in one tensor of the checkpoint or, in this order, in several.
struct ProjectionTensors {
  struct Part {
    const char* name;      // within the layer: the tensors are NAME.weight and, with a bias, NAME.bias
    std::int64_t outputs;  // rows
  };
  std::vector<Part> parts;
  std::int64_t inputs = 0;
  bool has_bias = false;
};

/// The linear maps of a layer, as a Hugging Face checkpoint of this architecture holds them.
struct LayerProjections {
  ProjectionTensors query_key_value;
  ProjectionTensors attention_output;
  ProjectionTensors gate_up;
  ProjectionTensors down;
};
[[nodiscard]] LayerProjections layer_projections(const ModelDescription& model);

/// Name in the checkpoint of a tensor of layer `index`: "model.layers.0.self_attn.q_proj.weight".
[[nodiscard]] std::string layer_tensor_name(std::int64_t index, std::string_view name);

struct ExpectedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
};
/// Every tensor that a forward pass of the model reads.
[[nodiscard]] std::vector<ExpectedTensor> expected_tensors(const ModelDescription& model);

/// Suffixes of names of tensors that a checkpoint may hold although nothing reads them.
[[nodiscard]] std::set<std::string> ignored_tensors(const ModelDescription& model);

/// Throws InputError unless the model's directory holds exactly the tensors that a forward pass reads, in their shapes
/// and in dtypes that are read; the message says what helps. Reads headers only. Whoever works with weights calls this
/// first, so that every command refuses in the same words.
void require_usable_weights(const ModelDescription& model);

/// Whether lm_head.weight of a checkpoint that ties its embeddings differs from the embedding: transformers 5 then
/// keeps the two apart. Tensors that cannot be compared, which require_usable_weights() refuses, do not count, and
/// neither does a directory without weights.
[[nodiscard]] bool has_own_output_embedding(const std::filesystem::path& directory);

}  // namespace longrope

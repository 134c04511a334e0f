#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "common/model_description.h"
#include "common/rotary_table.h"
#include "worker/model/checkpoint.h"

namespace longrope {

/// Where and in what a model runs.
struct Placement {
  at::Device device = at::kCPU;
  at::ScalarType weights = at::kFloat;     // weights are rounded to and kept in this
  at::ScalarType arithmetic = at::kFloat;  // activations, and weights while they are used
};

/// LlamaForCausalLM without its lm_head, layer-major: the whole document goes through one layer before the next. Memory
/// for T tokens: residual and queries [T, hidden] each, one layer's K and V, one layer's weights in the arithmetic
/// dtype when that differs, and tiles of kTileTokens. Not thread-safe.
class Llama {
 public:
  static constexpr std::int64_t kTileTokens = 1024;

  /// Throws InputError when a tensor is missing, misshapen or left over.
  Llama(const ModelDescription& description, Checkpoint& checkpoint, const Placement& placement);

  /// The residual stream after the last layer, before the final norm: [tokens, hidden], arithmetic dtype.
  /// `tokens` are within the vocabulary; `rotary` has a row for each. `tile_finished` is called after each tile.
  [[nodiscard]] at::Tensor residual_stream(std::span<const std::int32_t> tokens, const RotaryTable& rotary,
                                           const std::function<void()>& tile_finished) const;
  /// The final RMSNorm of some rows of the residual stream.
  [[nodiscard]] at::Tensor final_norm(const at::Tensor& residual) const;
  /// lm_head [vocabulary, hidden] in the weights dtype; the embedding itself when tied.
  [[nodiscard]] const at::Tensor& output_embedding() const { return output_embedding_; }

 private:
  struct Layer {
    at::Tensor attention_norm;     // [hidden]
    at::Tensor query_key_value;    // [(H + 2K)·head_dim, hidden], H query heads, K key-value heads
    at::Tensor attention_output;   // [hidden, H·head_dim]
    at::Tensor feed_forward_norm;  // [hidden]
    at::Tensor gate_up;            // [2·intermediate, hidden], gate first
    at::Tensor down;               // [hidden, intermediate]
  };
  struct Activations;

  [[nodiscard]] Layer load_layer(Checkpoint& checkpoint, std::int64_t index) const;
  [[nodiscard]] Layer in_arithmetic(const Layer& layer) const;
  void project_queries_keys_values(const Layer& layer, Activations& activations, std::int64_t begin,
                                   std::int64_t count) const;
  void add_attention_and_feed_forward(const Layer& layer, Activations& activations, std::int64_t begin,
                                      std::int64_t count) const;

  ModelDescription description_;
  Placement placement_;
  at::Tensor embedding_;  // [vocabulary, hidden], weights dtype
  at::Tensor final_norm_;
  at::Tensor output_embedding_;
  std::vector<Layer> layers_;
};

}  // namespace longrope

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

/// Any architecture of common/architecture.h without its lm_head, as the description says. Layer-major: the whole
/// document goes through one layer before the next. Memory for T tokens: residual and queries [T, hidden] each, one
/// layer's K and V, one layer's weights in the arithmetic dtype when that differs, and tiles of kTileTokens.
/// Not thread-safe.
class Transformer {
 public:
  static constexpr std::int64_t kTileTokens = 1024;

  /// Throws InputError when a tensor is missing, misshapen or left over.
  Transformer(const ModelDescription& description, Checkpoint& checkpoint, const Placement& placement);

  /// The residual stream after the last layer, before the final norm: [tokens, hidden], arithmetic dtype.
  /// `tokens` are within the vocabulary; `rotary` has a row for each. `tile_finished` is called after each tile.
  [[nodiscard]] at::Tensor residual_stream(std::span<const std::int32_t> tokens, const RotaryTable& rotary,
                                           const std::function<void()>& tile_finished) const;
  /// The final RMSNorm of some rows of the residual stream.
  [[nodiscard]] at::Tensor final_norm(const at::Tensor& residual) const;
  /// lm_head [vocabulary, hidden] in the weights dtype; the embedding itself when tied.
  [[nodiscard]] const at::Tensor& output_embedding() const { return output_embedding_; }

 private:
  struct Projection {
    at::Tensor weight;  // [out, in]
    at::Tensor bias;    // [out], undefined without one
  };
  struct Layer {
    at::Tensor attention_norm;     // [hidden]
    Projection query_key_value;    // hidden to (H + 2K)·head_dim, H query heads, K key-value heads
    at::Tensor query_norm;         // [head_dim], undefined without one; so is key_norm
    at::Tensor key_norm;           // [head_dim]
    Projection attention_output;   // H·head_dim to hidden
    at::Tensor feed_forward_norm;  // [hidden]
    Projection gate_up;            // hidden to 2·intermediate, gate first
    Projection down;               // intermediate to hidden
  };
  struct Activations;

  [[nodiscard]] Layer load_layer(Checkpoint& checkpoint, std::int64_t index) const;
  [[nodiscard]] Layer in_arithmetic(const Layer& layer) const;
  [[nodiscard]] at::Tensor normed(const at::Tensor& rows, const at::Tensor& weight) const;
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

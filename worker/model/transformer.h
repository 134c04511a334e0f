#pragma once

#include "common/model/model_description.h"
#include "common/rope/rotary_table.h"
#include "worker/model/checkpoint.h"
#include "worker/model/key_value_cache.h"
#include "worker/model/layer.h"
#include "worker/model/layer_stream.h"
#include "worker/model/layer_weights.h"
#include "worker/model/memory_estimate.h"
#include "worker/model/phase_clock.h"
#include "worker/model/placement.h"
#include "worker/model/row_gradients.h"
#include "worker/model/row_operations.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace longrope {

/// Progress and timing of a forward pass while it runs.
struct ForwardObserver {
  std::function<void()> tile_finished;  // called Transformer::ticks() times for each candidate, from any thread
  PhaseClock& clock;
};

/// Any architecture of common/model/architecture.h, as the description says. Layer-major: the whole document goes
/// through one layer before the next, in tiles that do everything a layer does before the next tile begins. Memory for
/// T tokens: per candidate, one row of the residual stream and one layer's K and V per token; one layer's weights in
/// the arithmetic dtype; one tile. Not thread-safe.
class Transformer {
 public:
  /// Throws InputError when a tensor is missing, misshapen or left over.
  Transformer(const ModelDescription& description, Checkpoint checkpoint, const Placement& placement,
              WeightSource source);

  /// The residual streams after the last layer, before the final norm: [candidates·tokens, hidden], arithmetic dtype,
  /// each candidate's rows together. `tokens` are within the vocabulary; the candidates are of this model's geometry.
  /// `tile_tokens` go through a layer at once. Candidates share what does not depend on their factors: each layer's
  /// weights as they are read and packed, the embedding, layer 0 up to the rotation. On the CPU kernels a candidate's
  /// rows have the same bits whatever others there are.
  [[nodiscard]] at::Tensor residual_streams(std::span<const std::int32_t> tokens,
                                            std::span<const RotaryFrequencies> candidates, std::int64_t tile_tokens,
                                            const ForwardObserver& observer);
  /// The gradient of a sum over the tokens, such as their NLL, with respect to the factors of one candidate, through
  /// the frozen model. `loss_gradient` is called once with the residual stream after the last layer [tokens, hidden]
  /// and writes the sum's gradient with respect to it, of the same shape, over zeros. What is not kept by `keep` is
  /// computed again; memory: estimate_memory(). Only on the CPU kernels: `supports_gradients()`. The same bits for
  /// anything kept, any tile and number of threads.
  [[nodiscard]] FactorGradient factor_gradient(
      std::span<const std::int32_t> tokens, const RotaryFrequencies& candidate, std::int64_t tile_tokens,
      const KeptForGradient& keep,
      const std::function<void(const at::Tensor& residual, const at::Tensor& gradient)>& loss_gradient,
      const ForwardObserver& observer);
  [[nodiscard]] bool supports_gradients() const { return kernels_for(placement_) != nullptr; }
  /// How often residual_streams() calls `tile_finished` for a document of so many tokens, for each candidate.
  [[nodiscard]] std::int64_t ticks(std::int64_t tokens, std::int64_t tile_tokens) const;
  /// How often factor_gradient() does.
  [[nodiscard]] std::int64_t gradient_ticks(std::int64_t tokens, std::int64_t tile_tokens,
                                            const KeptForGradient& keep) const;
  /// The final RMSNorm of some rows of the residual stream.
  [[nodiscard]] at::Tensor final_norm(const at::Tensor& residual) const;
  /// The gradient of final_norm(residual), times `out_gradient`: both [n, hidden].
  [[nodiscard]] at::Tensor final_norm_gradient(const at::Tensor& residual, const at::Tensor& out_gradient) const;
  /// The lm_head, which is the embedding when tied, for words [first, first + count) of the vocabulary; `first` is a
  /// multiple of kPanelColumns (worker/kernels/tile_sizes.h).
  [[nodiscard]] Projection output_projection(std::int64_t first, std::int64_t count);

 private:
  struct Stream;
  struct Tile;
  struct AttentionResult;
  struct LayerState;

  [[nodiscard]] at::Tensor load_embedding(const char* name);
  [[nodiscard]] std::int64_t window_of(std::int64_t layer) const;
  [[nodiscard]] Layer layer(std::int64_t index);
  [[nodiscard]] Stream stream_of(const RotaryFrequencies& frequencies, const at::Tensor& residual) const;
  [[nodiscard]] at::Tensor embedded(std::span<const std::int32_t> tokens, std::int64_t copies);
  void project(const Layer& layer, const at::Tensor& residual, const Tile& tile, PhaseClock& clock) const;
  void add_attention(const Layer& layer, std::int64_t begin, const at::Tensor& residual, const RotaryRows& rotary,
                     KeyValueCache& cache, const Tile& tile, const ForwardObserver& observer) const;
  void add_feed_forward(const Layer& layer, const at::Tensor& residual, const Tile& tile, PhaseClock& clock) const;
  // In transformer_gradient.cpp.
  void advance(const Layer& layer, const at::Tensor& residual, Stream& stream, const Tile& buffers,
               const AttentionResult& result, const ForwardObserver& observer) const;
  void add_layer_gradient(const Layer& layer, const at::Tensor& input, AttentionResult result,
                          const at::Tensor& gradient, Stream& stream, const Tile& buffers,
                          const ForwardObserver& observer, FactorGradient& sums) const;
  [[nodiscard]] LayerState attended_state(const Layer& layer, const at::Tensor& input, AttentionResult result,
                                          Stream& stream, const Tile& buffers, const ForwardObserver& observer) const;
  void add_feed_forward_gradient(const Layer& layer, const LayerState& state, const at::Tensor& gradient,
                                 const at::Tensor& attended_gradient, const Tile& buffers, PhaseClock& clock) const;
  [[nodiscard]] at::Tensor attention_gradient(const Layer& layer, const LayerState& state,
                                              const at::Tensor& attended_gradient,
                                              const ForwardObserver& observer) const;

  ModelDescription description_;
  Checkpoint checkpoint_;
  Placement placement_;
  WeightSource source_;
  at::Tensor final_norm_;
  at::Tensor embedding_;  // [vocabulary, hidden], weights dtype; undefined when the weights stay in files
  // WeightSource::kReady:
  std::optional<Projection> output_projection_;
  std::vector<Layer> layers_;
  // WeightSource::kMemory:
  at::Tensor output_embedding_;
  LayerStream stream_;
};

}  // namespace longrope

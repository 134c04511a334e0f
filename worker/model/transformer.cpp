#include "worker/model/projection.h"
#include "worker/model/row_operations.h"
#include "worker/model/transformer_state.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace longrope {
namespace {

constexpr std::int64_t kTokensAtOnce = 1024;  // tokens that are looked up in the embedding at once

}  // namespace

Transformer::Tile::Tile(const ModelDescription& model, std::int64_t tokens, bool shared,
                        const at::TensorOptions& options)
    : normed(at::empty({tokens, model.hidden_size}, options)),
      projected(at::empty({tokens, model.query_width() + 2 * model.key_value_width()}, options)),
      attended(at::empty({tokens, model.query_width()}, options)),
      gate_up(at::empty({tokens, 2 * model.intermediate_size}, options)),
      gated(at::empty({tokens, model.intermediate_size}, options)),
      unrotated(at::empty({shared ? tokens : 0, projected.size(1)}, options)) {}

Transformer::Tile Transformer::Tile::first(std::int64_t count) const {
  Tile tile = *this;
  for (at::Tensor* const tensor : {&tile.normed, &tile.projected, &tile.attended, &tile.gate_up, &tile.gated}) {
    *tensor = tensor->narrow(0, 0, count);
  }
  if (tile.unrotated.size(0) > 0) tile.unrotated = tile.unrotated.narrow(0, 0, count);
  return tile;
}

Transformer::Transformer(const ModelDescription& description, Checkpoint checkpoint, const Placement& placement,
                         WeightSource source)
    : description_(description),
      checkpoint_(std::move(checkpoint)),
      placement_(placement),
      source_(source),
      final_norm_(checkpoint_.load(kFinalNormName, {description.hidden_size}, placement.weights, placement.device)
                      .to(placement.arithmetic)),
      stream_(placement.device) {
  // Every tensor is read once in any case: a broken checkpoint is refused now, not in the middle of a search.
  // What is not kept is released before the next is read.
  const auto keep_output = [&](const at::Tensor& output) {
    if (source_ == WeightSource::kMemory) output_embedding_ = output;
    if (source_ == WeightSource::kReady) output_projection_.emplace(output, at::Tensor(), placement_);
  };
  const auto keep_embedding = [&](const at::Tensor& embedding) {
    if (source_ != WeightSource::kFiles) embedding_ = embedding;
    if (description_.tied_embeddings) keep_output(embedding);
  };
  keep_embedding(load_embedding(kEmbeddingName));
  if (!description_.tied_embeddings) keep_output(load_embedding(kOutputEmbeddingName));
  for (std::int64_t index = 0; index < description_.layers; ++index) {
    Placement read_to = placement_;
    if (source_ == WeightSource::kMemory) read_to.device = at::kCPU;
    const LayerWeights weights = load_layer(checkpoint_, description_, index, read_to);
    if (source_ == WeightSource::kReady) layers_.emplace_back(weights, placement_, window_of(index));
    if (source_ == WeightSource::kMemory) stream_.add(weights);
  }
  require_no_tensor_left(checkpoint_, description_);
}

at::Tensor Transformer::load_embedding(const char* name) {
  return checkpoint_.load(name, {description_.vocabulary, description_.hidden_size}, placement_.weights,
                          placement_.device);
}

std::int64_t Transformer::window_of(std::int64_t index) const {
  return description_.sliding_windows[static_cast<std::size_t>(index)];
}

Layer Transformer::layer(std::int64_t index) {
  switch (source_) {
    case WeightSource::kReady:
      return layers_[static_cast<std::size_t>(index)];
    case WeightSource::kMemory:
      return {stream_.take(index), placement_, window_of(index)};
    case WeightSource::kFiles:
      break;
  }
  return {load_layer(checkpoint_, description_, index, placement_), placement_, window_of(index)};
}

at::Tensor Transformer::residual_streams(std::span<const std::int32_t> tokens,
                                         std::span<const RotaryFrequencies> candidates, std::int64_t tile_tokens,
                                         const ForwardObserver& observer) {
  const auto length = static_cast<std::int64_t>(tokens.size());
  const at::Tensor residuals = embedded(tokens, static_cast<std::int64_t>(candidates.size()));
  const bool several = candidates.size() > 1;
  std::vector<Stream> streams;
  for (const RotaryFrequencies& frequencies : candidates) {
    const auto before = static_cast<std::int64_t>(streams.size()) * length;
    streams.push_back(stream_of(frequencies, residuals.narrow(0, before, length)));
  }
  const Tile buffers(description_, std::min(length, tile_tokens), several, residuals.options());
  observer.clock.lap(Phase::kRows);
  for (std::int64_t index = 0; index < description_.layers; ++index) {
    const Layer layer = this->layer(index);
    observer.clock.lap(Phase::kWeights);
    for (std::int64_t begin = 0; begin < length; begin += tile_tokens) {
      const std::int64_t count = std::min(tile_tokens, length - begin);
      const Tile tile = buffers.first(count);
      for (Stream& stream : streams) {
        const at::Tensor rows = stream.residual.narrow(0, begin, count);
        if (index > 0 || &stream == &streams.front()) {
          project(layer, rows, tile, observer.clock);
          if (index == 0 && several) tile.unrotated.copy_(tile.projected);
        } else {
          tile.projected.copy_(tile.unrotated);  // no factor has had an effect yet
        }
        add_attention(layer, begin, rows, stream.rows(begin, count), stream.cache, tile, observer);
        add_feed_forward(layer, rows, tile, observer.clock);
        observer.tile_finished();
      }
    }
  }
  return residuals;
}

Transformer::Stream Transformer::stream_of(const RotaryFrequencies& frequencies, const at::Tensor& residual) const {
  const std::int64_t tokens = residual.size(0);
  return {.frequencies = frequencies,
          .rotary = rotary_rows(frequencies, 0, std::min(tokens, kRotaryRowsKept), placement_.device),
          .residual = residual,
          .cache = KeyValueCache(tokens, description_.key_value_heads, description_.head_dim, placement_)};
}

std::int64_t Transformer::ticks(std::int64_t tokens, std::int64_t tile_tokens) const {
  std::int64_t per_layer = 0;
  for (std::int64_t begin = 0; begin < tokens; begin += tile_tokens) {
    const std::int64_t count = std::min(tile_tokens, tokens - begin);
    per_layer += KeyValueCache::pieces(count, description_.key_value_heads, placement_) + 1;
  }
  return description_.layers * per_layer;
}

at::Tensor Transformer::embedded(std::span<const std::int32_t> tokens, std::int64_t copies) {
  const auto length = static_cast<std::int64_t>(tokens.size());
  const at::Tensor residuals = at::empty({copies * length, description_.hidden_size},
                                         at::TensorOptions().dtype(placement_.arithmetic).device(placement_.device));
  const at::Tensor table = source_ == WeightSource::kFiles ? load_embedding(kEmbeddingName) : embedding_;
  for (std::int64_t begin = 0; begin < length; begin += kTokensAtOnce) {
    const std::int64_t count = std::min(kTokensAtOnce, length - begin);
    const at::Tensor ids = at::empty({count}, at::TensorOptions().dtype(at::kInt));
    std::ranges::copy(tokens.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
                      ids.data_ptr<std::int32_t>());
    const at::Tensor rows = table.index_select(0, ids.to(placement_.device));
    for (std::int64_t copy = 0; copy < copies; ++copy) residuals.narrow(0, copy * length + begin, count).copy_(rows);
  }
  return residuals;
}

/// Writes the tile's queries, keys and values, not yet rotated, to tile.projected.
void Transformer::project(const Layer& layer, const at::Tensor& residual, const Tile& tile, PhaseClock& clock) const {
  const ModelDescription& model = description_;
  rms_norm(residual, layer.attention_norm, model.rms_norm_epsilon, tile.normed);
  clock.lap(Phase::kRows);
  layer.query_key_value.write(tile.normed, tile.projected);
  clock.lap(Phase::kProjections, operations(tile.normed, tile.projected));
  const at::Tensor heads = tile.projected.view({residual.size(0), -1, model.head_dim});
  if (!layer.query_norm.defined()) return;
  if (tile.unnormed.defined()) tile.unnormed.copy_(tile.projected.narrow(1, 0, tile.unnormed.size(1)));
  rms_norm_heads(heads.narrow(1, 0, model.query_heads), layer.query_norm, model.rms_norm_epsilon);
  rms_norm_heads(heads.narrow(1, model.query_heads, model.key_value_heads), layer.key_norm, model.rms_norm_epsilon);
}

void Transformer::add_attention(const Layer& layer, std::int64_t begin, const at::Tensor& residual,
                                const RotaryRows& rotary, KeyValueCache& cache, const Tile& tile,
                                const ForwardObserver& observer) const {
  const ModelDescription& model = description_;
  const std::int64_t count = residual.size(0);
  const at::Tensor heads = tile.projected.view({count, -1, model.head_dim});
  cache.rotate_and_store(begin, heads, rotary);
  observer.clock.lap(Phase::kRows);
  cache.attend(begin, heads.narrow(1, 0, model.query_heads), layer.sliding_window,
               tile.attended.view({count, model.query_heads, model.head_dim}), observer.tile_finished, tile.log_sums);
  observer.clock.lap(Phase::kAttention, attention_operations(model, begin, count, layer.sliding_window));
  layer.attention_output.add(tile.attended, residual);
  observer.clock.lap(Phase::kProjections, operations(tile.attended, residual));
}

void Transformer::add_feed_forward(const Layer& layer, const at::Tensor& residual, const Tile& tile,
                                   PhaseClock& clock) const {
  rms_norm(residual, layer.feed_forward_norm, description_.rms_norm_epsilon, tile.normed);
  clock.lap(Phase::kRows);
  layer.gate_up.write(tile.normed, tile.gate_up);
  clock.lap(Phase::kFeedForward, operations(tile.normed, tile.gate_up));
  gate(tile.gate_up, tile.gated);
  clock.lap(Phase::kRows);
  layer.down.add(tile.gated, residual);
  clock.lap(Phase::kFeedForward, operations(tile.gated, residual));
}

at::Tensor Transformer::final_norm(const at::Tensor& residual) const {
  const at::Tensor normed = at::empty_like(residual);
  rms_norm(residual, final_norm_, description_.rms_norm_epsilon, normed);
  return normed;
}

Projection Transformer::output_projection(std::int64_t first, std::int64_t count) {
  if (output_projection_) return output_projection_->outputs(first, count);
  if (source_ == WeightSource::kMemory) return {output_embedding_.narrow(0, first, count), {}, placement_};
  const char* const name = description_.tied_embeddings ? kEmbeddingName : kOutputEmbeddingName;
  return {checkpoint_.load_rows(name, first, count, placement_.weights, placement_.device), {}, placement_};
}

}  // namespace longrope

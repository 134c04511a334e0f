#include "worker/model/transformer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <utility>

#include "worker/model/projection.h"
#include "worker/model/row_operations.h"

namespace longrope {
namespace {

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kOutputEmbedding = "lm_head.weight";
constexpr std::int64_t kTokensAtOnce = 1024;  // that are looked up in the embedding

}  // namespace

/// One layer as it is computed with.
struct Transformer::Layer {
  Layer(const LayerWeights& weights, const Placement& placement, std::int64_t window)
      : attention_norm(weights.attention_norm.to(placement.arithmetic)),
        query_key_value(weights.query_key_value.weight, weights.query_key_value.bias, placement),
        query_norm(weights.query_norm.defined() ? weights.query_norm.to(placement.arithmetic) : at::Tensor()),
        key_norm(weights.key_norm.defined() ? weights.key_norm.to(placement.arithmetic) : at::Tensor()),
        attention_output(weights.attention_output.weight, weights.attention_output.bias, placement),
        feed_forward_norm(weights.feed_forward_norm.to(placement.arithmetic)),
        gate_up(weights.gate_up.weight, weights.gate_up.bias, placement),
        down(weights.down.weight, weights.down.bias, placement),
        sliding_window(window) {}

  at::Tensor attention_norm;
  Projection query_key_value;
  at::Tensor query_norm;
  at::Tensor key_norm;
  Projection attention_output;
  at::Tensor feed_forward_norm;
  Projection gate_up;
  Projection down;
  std::int64_t sliding_window;
};

/// Buffers of one tile, allocated once for a document: fresh pages for every tile would cost as much as the arithmetic.
struct Transformer::Tile {
  Tile(const ModelDescription& model, std::int64_t tokens, const at::TensorOptions& options)
      : normed(at::empty({tokens, model.hidden_size}, options)),
        projected(at::empty({tokens, (model.query_heads + 2 * model.key_value_heads) * model.head_dim}, options)),
        attended(at::empty({tokens, model.query_heads * model.head_dim}, options)),
        gate_up(at::empty({tokens, 2 * model.intermediate_size}, options)),
        gated(at::empty({tokens, model.intermediate_size}, options)) {}

  [[nodiscard]] Tile first(std::int64_t count) const {
    Tile tile = *this;
    for (at::Tensor* const tensor : {&tile.normed, &tile.projected, &tile.attended, &tile.gate_up, &tile.gated}) {
      *tensor = tensor->narrow(0, 0, count);
    }
    return tile;
  }

  at::Tensor normed;     // [n, hidden]
  at::Tensor projected;  // [n, (H + 2K)·head_dim]
  at::Tensor attended;   // [n, H·head_dim]
  at::Tensor gate_up;    // [n, 2·intermediate]
  at::Tensor gated;      // [n, intermediate]
};

Transformer::Transformer(const ModelDescription& description, Checkpoint checkpoint, const Placement& placement,
                         WeightSource source)
    : description_(description),
      checkpoint_(std::move(checkpoint)),
      placement_(placement),
      source_(source),
      final_norm_(checkpoint_.load("model.norm.weight", {description.hidden_size}, placement.weights, placement.device)
                      .to(placement.arithmetic)) {
  // Once through every tensor in either case: a broken checkpoint is refused now, not in the middle of a search.
  const auto keep = [&](at::Tensor& kept, const char* name) {
    at::Tensor loaded = load_embedding(name);
    if (source_ == WeightSource::kMemory) kept = std::move(loaded);
  };
  keep(embedding_, kEmbedding);
  if (description_.tied_embeddings) {
    output_embedding_ = embedding_;
  } else {
    keep(output_embedding_, kOutputEmbedding);
  }
  for (std::int64_t index = 0; index < description_.layers; ++index) {
    LayerWeights layer = load_layer(checkpoint_, description_, index, placement_);
    if (source_ == WeightSource::kMemory) layers_.push_back(std::move(layer));
  }
  // Old checkpoints store the base inverse frequencies; tied ones may store the shared matrix a second time.
  std::set<std::string> ignored = {".rotary_emb.inv_freq"};
  if (description_.tied_embeddings) ignored.insert(kOutputEmbedding);
  checkpoint_.require_all_loaded(ignored);
}

at::Tensor Transformer::load_embedding(const char* name) {
  return checkpoint_.load(name, {description_.vocabulary, description_.hidden_size}, placement_.weights,
                          placement_.device);
}

at::Tensor Transformer::residual_stream(std::span<const std::int32_t> tokens, const RescaleFactors& factors,
                                        AngleMode angles, std::int64_t tile_tokens,
                                        const std::function<void()>& tile_finished) {
  const auto length = static_cast<std::int64_t>(tokens.size());
  const at::Tensor residual = embedded(tokens);
  KeyValueCache cache(length, description_.key_value_heads, description_.head_dim, placement_);
  const Tile buffers(description_, std::min(length, tile_tokens), residual.options());
  for (std::int64_t index = 0; index < description_.layers; ++index) {
    const auto position = static_cast<std::size_t>(index);
    const Layer layer(
        source_ == WeightSource::kFiles ? load_layer(checkpoint_, description_, index, placement_) : layers_[position],
        placement_, description_.sliding_windows[position]);
    for (std::int64_t begin = 0; begin < length; begin += tile_tokens) {
      const std::int64_t count = std::min(tile_tokens, length - begin);
      const Tile tile = buffers.first(count);
      const at::Tensor rows = residual.narrow(0, begin, count);
      const RotaryRows rotary = rotary_rows(description_.geometry, factors, angles, begin, count, placement_.device);
      add_attention(layer, rotary, begin, rows, cache, tile, tile_finished);
      add_feed_forward(layer, rows, tile);
      tile_finished();
    }
  }
  return residual;
}

std::int64_t Transformer::ticks(std::int64_t tokens, std::int64_t tile_tokens) const {
  std::int64_t per_layer = 0;
  for (std::int64_t begin = 0; begin < tokens; begin += tile_tokens) {
    const std::int64_t count = std::min(tile_tokens, tokens - begin);
    per_layer += KeyValueCache::pieces(count, description_.key_value_heads, placement_) + 1;
  }
  return description_.layers * per_layer;
}

at::Tensor Transformer::embedded(std::span<const std::int32_t> tokens) {
  const auto length = static_cast<std::int64_t>(tokens.size());
  const at::Tensor residual = at::empty({length, description_.hidden_size},
                                        at::TensorOptions().dtype(placement_.arithmetic).device(placement_.device));
  const at::Tensor table = source_ == WeightSource::kFiles ? load_embedding(kEmbedding) : embedding_;
  for (std::int64_t begin = 0; begin < length; begin += kTokensAtOnce) {
    const std::int64_t count = std::min(kTokensAtOnce, length - begin);
    const at::Tensor ids = at::empty({count}, at::TensorOptions().dtype(at::kInt));
    std::ranges::copy(tokens.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
                      ids.data_ptr<std::int32_t>());
    residual.narrow(0, begin, count).copy_(table.index_select(0, ids.to(placement_.device)));
  }
  return residual;
}

void Transformer::add_attention(const Layer& layer, const RotaryRows& rotary, std::int64_t begin,
                                const at::Tensor& residual, KeyValueCache& cache, const Tile& tile,
                                const std::function<void()>& tile_finished) const {
  const ModelDescription& model = description_;
  rms_norm(residual, layer.attention_norm, model.rms_norm_epsilon, tile.normed);
  layer.query_key_value.write(tile.normed, tile.projected);
  const at::Tensor heads = tile.projected.view({residual.size(0), -1, model.head_dim});
  const at::Tensor queries = heads.narrow(1, 0, model.query_heads);
  const at::Tensor keys = heads.narrow(1, model.query_heads, model.key_value_heads);
  const at::Tensor values = heads.narrow(1, model.query_heads + model.key_value_heads, model.key_value_heads);
  const auto norm_each_head = [&](const at::Tensor& rows, const at::Tensor& weight) {
    if (!weight.defined()) return;
    for (std::int64_t head = 0; head < rows.size(1); ++head) {
      rms_norm(rows.select(1, head), weight, model.rms_norm_epsilon, rows.select(1, head));
    }
  };
  norm_each_head(queries, layer.query_norm);
  norm_each_head(keys, layer.key_norm);
  rotate(heads.narrow(1, 0, model.query_heads + model.key_value_heads), rotary);
  cache.store(begin, keys, values);
  const at::Tensor attended = tile.attended.view({residual.size(0), model.query_heads, model.head_dim});
  cache.attend(begin, queries, layer.sliding_window, attended, tile_finished);
  layer.attention_output.add(tile.attended, residual);
}

void Transformer::add_feed_forward(const Layer& layer, const at::Tensor& residual, const Tile& tile) const {
  rms_norm(residual, layer.feed_forward_norm, description_.rms_norm_epsilon, tile.normed);
  layer.gate_up.write(tile.normed, tile.gate_up);
  gate(tile.gate_up, tile.gated);
  layer.down.add(tile.gated, residual);
}

at::Tensor Transformer::final_norm(const at::Tensor& residual) const {
  const at::Tensor normed = at::empty_like(residual);
  rms_norm(residual, final_norm_, description_.rms_norm_epsilon, normed);
  return normed;
}

at::Tensor Transformer::output_embedding(std::int64_t first, std::int64_t count) {
  if (source_ == WeightSource::kMemory) return output_embedding_.narrow(0, first, count);
  return checkpoint_.load_rows(description_.tied_embeddings ? kEmbedding : kOutputEmbedding, first, count,
                               placement_.weights, placement_.device);
}

}  // namespace longrope

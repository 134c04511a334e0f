// Gradients with respect to rescale factors (spec, gradient search §1 and §2): layer by layer through the frozen model,
// from the last to the first. What a layer's forward pass had is computed again from its kept input.

#include "worker/model/transformer_state.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace longrope {
namespace {

/// Calls run(begin, count) for the tiles of a document.
template <typename Run>
void for_each_tile(std::int64_t tokens, std::int64_t tile_tokens, const Run& run) {
  for (std::int64_t begin = 0; begin < tokens; begin += tile_tokens) run(begin, std::min(tile_tokens, tokens - begin));
}

ConstRows columns(const at::Tensor& tensor, std::int64_t first) {
  return {tensor.const_data_ptr<float>() + first, tensor.stride(0), tensor.size(0)};
}
Rows columns_to(const at::Tensor& tensor, std::int64_t first) {
  return {tensor.data_ptr<float>() + first, tensor.stride(0)};
}

/// rms_norm_gradient() of each head by itself, in place of the gradient [n, heads, head_dim].
void norm_heads_back(const at::Tensor& unnormed, const at::Tensor& weight, double epsilon, const at::Tensor& gradient) {
  for (std::int64_t head = 0; head < gradient.size(1); ++head) {
    const at::Tensor own = gradient.select(1, head);
    rms_norm_gradient(unnormed.select(1, head), weight, epsilon, own, Accumulate::kNo, own);
  }
}

}  // namespace

/// What one layer's backward pass needs of its forward pass, for all tokens.
struct Transformer::LayerState {
  at::Tensor projected;  // [tokens, (H + 2K)·head_dim], queries and keys rotated
  at::Tensor unnormed;   // [tokens, (H + K)·head_dim] queries and keys before their norm; undefined without one
  AttentionResult attention;
  at::Tensor residual;  // [tokens, hidden] after attention
};

FactorGradient Transformer::factor_gradient(
    std::span<const std::int32_t> tokens, const RotaryFrequencies& candidate, std::int64_t tile_tokens,
    const KeptForGradient& keep,
    const std::function<void(const at::Tensor& residual, const at::Tensor& gradient)>& loss_gradient,
    const ForwardObserver& observer) {
  const auto length = static_cast<std::int64_t>(tokens.size());
  Stream stream = stream_of(candidate, embedded(tokens, 1));
  const at::Tensor& residual = stream.residual;
  const Tile buffers(description_, std::min(length, tile_tokens), /*shared=*/false, residual.options());
  observer.clock.lap(Phase::kRows);
  std::vector<at::Tensor> kept;  // inputs of layers 0, layers_between, 2·layers_between, …
  std::vector<AttentionResult> results(static_cast<std::size_t>(description_.layers));
  for (std::int64_t index = 0; index < description_.layers; ++index) {
    if (index % keep.layers_between == 0) kept.push_back(residual.clone());
    AttentionResult& result = results[static_cast<std::size_t>(index)];
    if (keep.attention) result = AttentionResult(description_, length, residual.options());
    advance(layer(index), residual, stream, buffers, result, observer);
  }
  const at::Tensor gradient = at::zeros_like(residual);
  loss_gradient(residual, gradient);
  observer.clock.lap(Phase::kOutput);

  FactorGradient sums;
  for (std::int64_t last = description_.layers; last > 0;) {
    const std::int64_t first = (last - 1) / keep.layers_between * keep.layers_between;
    std::vector<at::Tensor> inputs = {std::move(kept.back())};
    kept.pop_back();
    for (std::int64_t index = first; index + 1 < last; ++index) {
      inputs.push_back(inputs.back().clone());
      advance(layer(index), inputs.back(), stream, buffers, {}, observer);
    }
    while (last > first) {
      --last;
      AttentionResult result = std::move(results[static_cast<std::size_t>(last)]);
      add_layer_gradient(layer(last), inputs.back(), std::move(result), gradient, stream, buffers, observer, sums);
      inputs.pop_back();
    }
  }
  return sums;
}

std::int64_t Transformer::gradient_ticks(std::int64_t tokens, std::int64_t tile_tokens,
                                         const KeptForGradient& keep) const {
  const std::int64_t layers = description_.layers;
  const std::int64_t forward = ticks(tokens, tile_tokens) / layers;  // of one layer
  const std::int64_t tiles = (tokens + tile_tokens - 1) / tile_tokens;
  const std::int64_t groups = (layers + keep.layers_between - 1) / keep.layers_between;
  const std::int64_t attention_again = keep.attention ? 0 : forward - tiles;
  // Each layer forward; all but the first of each group again; and each one's backward pass.
  return (2 * layers - groups) * forward + layers * (attention_again + description_.key_value_heads + 1);
}

at::Tensor Transformer::final_norm_gradient(const at::Tensor& residual, const at::Tensor& out_gradient) const {
  const at::Tensor gradient = at::empty_like(residual);
  rms_norm_gradient(residual, final_norm_, description_.rms_norm_epsilon, out_gradient, Accumulate::kNo, gradient);
  return gradient;
}

void Transformer::advance(const Layer& layer, const at::Tensor& residual, Stream& stream, const Tile& buffers,
                          const AttentionResult& result, const ForwardObserver& observer) const {
  for_each_tile(residual.size(0), buffers.normed.size(0), [&](std::int64_t begin, std::int64_t count) {
    Tile tile = buffers.first(count);
    if (result.attended.defined()) {
      tile.attended = result.attended.narrow(0, begin, count);
      tile.log_sums = result.log_sums.narrow(0, begin, count);
    }
    const at::Tensor rows = residual.narrow(0, begin, count);
    project(layer, rows, tile, observer.clock);
    add_attention(layer, begin, rows, stream.rows(begin, count), stream.cache, tile, observer);
    add_feed_forward(layer, rows, tile, observer.clock);
    observer.tile_finished();
  });
}

/// Attention is computed again unless its result was kept.
Transformer::LayerState Transformer::attended_state(const Layer& layer, const at::Tensor& input, AttentionResult result,
                                                    Stream& stream, const Tile& buffers,
                                                    const ForwardObserver& observer) const {
  const std::int64_t tokens = input.size(0);
  const auto empty = [&](std::int64_t width) { return at::empty({tokens, width}, input.options()); };
  const std::int64_t turned = description_.query_width() + description_.key_value_width();
  const bool kept = result.attended.defined();
  const LayerState state = {
      .projected = empty(turned + description_.key_value_width()),
      .unnormed = layer.query_norm.defined() ? empty(turned) : at::Tensor(),
      .attention = kept ? std::move(result) : AttentionResult(description_, tokens, input.options()),
      .residual = input.clone()};
  for_each_tile(tokens, buffers.normed.size(0), [&](std::int64_t begin, std::int64_t count) {
    const auto rows = [&](const at::Tensor& tensor) {
      return tensor.defined() ? tensor.narrow(0, begin, count) : tensor;
    };
    Tile tile = buffers.first(count);
    tile.projected = rows(state.projected);
    tile.unnormed = rows(state.unnormed);
    tile.attended = rows(state.attention.attended);
    tile.log_sums = rows(state.attention.log_sums);
    project(layer, rows(state.residual), tile, observer.clock);
    if (!kept) {
      add_attention(layer, begin, rows(state.residual), stream.rows(begin, count), stream.cache, tile, observer);
      return;
    }
    rotate(tile.projected.narrow(1, 0, turned).view({count, -1, description_.head_dim}), stream.rows(begin, count));
    observer.clock.lap(Phase::kRows);
    layer.attention_output.add(tile.attended, rows(state.residual));
    observer.clock.lap(Phase::kProjections, operations(tile.attended, state.residual));
  });
  return state;
}

/// `gradient` is that of the layer's result and becomes that of `input`.
void Transformer::add_layer_gradient(const Layer& layer, const at::Tensor& input, AttentionResult result,
                                     const at::Tensor& gradient, Stream& stream, const Tile& buffers,
                                     const ForwardObserver& observer, FactorGradient& sums) const {
  const std::int64_t tokens = input.size(0);
  const double epsilon = description_.rms_norm_epsilon;
  const std::int64_t turned = description_.query_heads + description_.key_value_heads;
  const auto heads_of = [&](const at::Tensor& tensor) {
    return tensor.view({tensor.size(0), -1, description_.head_dim});
  };
  const LayerState state = attended_state(layer, input, std::move(result), stream, buffers, observer);
  const at::Tensor attended_gradient = at::empty_like(state.attention.attended);
  add_feed_forward_gradient(layer, state, gradient, attended_gradient, buffers, observer.clock);
  const at::Tensor projected_gradient = attention_gradient(layer, state, attended_gradient, observer);
  // Scores, and the gradients of weights, values, queries and keys: five products instead of two.
  observer.clock.lap(Phase::kAttention, 2.5 * attention_operations(description_, 0, tokens, layer.sliding_window));

  const at::Tensor heads_gradient = heads_of(projected_gradient).narrow(1, 0, turned);
  add_factor_gradient(heads_of(state.projected).narrow(1, 0, turned), heads_gradient, stream.frequencies, sums);
  const Projection back = layer.query_key_value.transposed();
  for_each_tile(tokens, buffers.normed.size(0), [&](std::int64_t begin, std::int64_t count) {
    const at::Tensor heads = heads_gradient.narrow(0, begin, count);
    rotate(heads, transposed(stream.rows(begin, count)));
    if (state.unnormed.defined()) {
      const at::Tensor unnormed = heads_of(state.unnormed).narrow(0, begin, count);
      const auto part = [&](const at::Tensor& tensor, bool keys) {
        return keys ? tensor.narrow(1, description_.query_heads, description_.key_value_heads)
                    : tensor.narrow(1, 0, description_.query_heads);
      };
      norm_heads_back(part(unnormed, false), layer.query_norm, epsilon, part(heads, false));
      norm_heads_back(part(unnormed, true), layer.key_norm, epsilon, part(heads, true));
    }
    const at::Tensor normed_gradient = buffers.first(count).normed;
    back.write(projected_gradient.narrow(0, begin, count), normed_gradient);
    rms_norm_gradient(input.narrow(0, begin, count), layer.attention_norm, epsilon, normed_gradient, Accumulate::kYes,
                      gradient.narrow(0, begin, count));
  });
  observer.clock.lap(Phase::kProjections, operations(projected_gradient, input));
  observer.tile_finished();
}

/// `gradient` becomes that of the residual after attention; `attended_gradient` that of attention's result.
void Transformer::add_feed_forward_gradient(const Layer& layer, const LayerState& state, const at::Tensor& gradient,
                                            const at::Tensor& attended_gradient, const Tile& buffers,
                                            PhaseClock& clock) const {
  const double epsilon = description_.rms_norm_epsilon;
  const Projection down_back = layer.down.transposed();
  const Projection gate_up_back = layer.gate_up.transposed();
  const Projection output_back = layer.attention_output.transposed();
  for_each_tile(gradient.size(0), buffers.normed.size(0), [&](std::int64_t begin, std::int64_t count) {
    const Tile tile = buffers.first(count);
    const at::Tensor rows = state.residual.narrow(0, begin, count);
    const at::Tensor own = gradient.narrow(0, begin, count);
    rms_norm(rows, layer.feed_forward_norm, epsilon, tile.normed);
    layer.gate_up.write(tile.normed, tile.gate_up);
    down_back.write(own, tile.gated);
    gate_gradient(tile.gate_up, tile.gated, tile.gate_up);
    gate_up_back.write(tile.gate_up, tile.normed);
    rms_norm_gradient(rows, layer.feed_forward_norm, epsilon, tile.normed, Accumulate::kYes, own);
    clock.lap(Phase::kFeedForward, 2.0 * operations(tile.normed, tile.gate_up) + operations(own, tile.gated));
    output_back.write(own, attended_gradient.narrow(0, begin, count));
    clock.lap(Phase::kProjections, operations(own, tile.attended));
  });
}

/// The gradient with respect to rotated queries, rotated keys, and values: [tokens, (H + 2K)·head_dim].
at::Tensor Transformer::attention_gradient(const Layer& layer, const LayerState& state,
                                           const at::Tensor& attended_gradient, const ForwardObserver& observer) const {
  const CpuKernels& kernels = *kernels_for(placement_);
  const at::Tensor gradient = at::empty_like(state.projected);
  const std::int64_t head_dim = description_.head_dim;
  const std::int64_t group = description_.query_heads / description_.key_value_heads;
  at::parallel_for(0, description_.key_value_heads, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t head = first; head < last; ++head) {
      const std::int64_t queries = head * group * head_dim;
      const std::int64_t keys = description_.query_width() + head * head_dim;
      const std::int64_t values = keys + description_.key_value_width();
      kernels.attend_backward({.query = columns(state.projected, queries),
                               .key = columns(state.projected, keys),
                               .value = columns(state.projected, values),
                               .out = columns(state.attention.attended, queries),
                               .log_sums = columns(state.attention.log_sums, head * group),
                               .out_gradient = columns(attended_gradient, queries),
                               .heads = group,
                               .head_dim = head_dim,
                               .window = layer.sliding_window,
                               .scale = attention_scale(head_dim),
                               .query_gradient = columns_to(gradient, queries),
                               .key_gradient = columns_to(gradient, keys),
                               .value_gradient = columns_to(gradient, values)});
      observer.tile_finished();
    }
  });
  return gradient;
}

}  // namespace longrope

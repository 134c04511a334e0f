#pragma once

#include "worker/model/layer_weights.h"
#include "worker/model/placement.h"
#include "worker/model/projection.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace longrope {

/// The weights of one layer as they are computed with; norms in the arithmetic dtype. Immutable; copies share them.
struct Layer {
  /// `window`: sliding window of its attention in tokens; 0: none.
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

}  // namespace longrope

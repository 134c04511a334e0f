#pragma once

#include "common/host_device.h"

#include <cmath>
#include <cstdint>

namespace longrope {

/// What one row has seen of its logits so far, over any number of calls in column order.
struct LogitState {
  float largest;        // begin with −∞
  float exponentials;   // Σ exp(logit − largest); begin with 0
  float target_logit;   // of the token that follows
  std::int32_t argmax;  // lowest column with the largest logit; −1 while none was larger than −∞
};

LONGROPE_HOST_DEVICE inline LogitState no_logits() { return {-INFINITY, 0.0F, 0.0F, -1}; }

/// Adds the logit of a column, higher than those before. +∞ and NaN make the sum NaN for good; −∞ adds nothing.
LONGROPE_HOST_DEVICE inline void add_logit(LogitState& state, std::int32_t column, float logit) {
  if (logit == -INFINITY) return;  // −∞ − −∞ in a row that has seen nothing else would be NaN
  if (logit > state.largest) {
    state.exponentials *= std::exp(state.largest - logit);
    state.largest = logit;
    state.argmax = column;
  }
  state.exponentials += std::exp(logit - state.largest);
}

/// Both states' columns as one; of equal logits the lower column wins. `target_logit` is that of `a`.
LONGROPE_HOST_DEVICE inline LogitState merged(const LogitState& a, const LogitState& b) {
  const bool second_wins = b.largest > a.largest || (b.largest == a.largest && b.argmax < a.argmax);
  const LogitState& winner = second_wins ? b : a;
  const LogitState& other = second_wins ? a : b;
  // Equal ones need no factor, and two of −∞ would make it NaN.
  const float scale = other.largest == winner.largest ? 1.0F : std::exp(other.largest - winner.largest);
  return {winner.largest, winner.exponentials + other.exponentials * scale, a.target_logit, winner.argmax};
}

/// Takes the logits of a tile into its row's state: nothing but −∞ so far is no distribution, hence NaN.
LONGROPE_HOST_DEVICE inline void add_tile(LogitState& state, const LogitState& tile) {
  state = merged(state, tile);
  if (state.largest == -INFINITY) state.exponentials = NAN;
}

/// log Σ exp(logits) − logits[target], in nats.
LONGROPE_HOST_DEVICE inline float negative_log_likelihood(const LogitState& state) {
  return state.largest + std::log(state.exponentials) - state.target_logit;
}

}  // namespace longrope

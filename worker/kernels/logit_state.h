#pragma once

#include "common/host_device.h"

#include <cmath>
#include <cstdint>

namespace longrope {

/// Running log-sum-exp and argmax of one row of logits, which come in any number of calls in column order.
struct LogitState {
  float largest;        // begin with −∞
  float exponentials;   // Σ exp(logit − largest); begin with 0
  float target_logit;   // logit of the target, the token that follows
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

/// The state of a row that has seen the columns of both; of equal logits the lower column wins. `target_logit` is that
/// of `a`.
LONGROPE_HOST_DEVICE inline LogitState merged(const LogitState& a, const LogitState& b) {
  const bool second_wins = b.largest > a.largest || (b.largest == a.largest && b.argmax < a.argmax);
  const LogitState& winner = second_wins ? b : a;
  const LogitState& other = second_wins ? a : b;
  // Equal ones need no factor, and two of −∞ would make it NaN.
  const float scale = other.largest == winner.largest ? 1.0F : std::exp(other.largest - winner.largest);
  return {winner.largest, winner.exponentials + other.exponentials * scale, a.target_logit, winner.argmax};
}

/// Merges the state of a tile into that of its row. A row of nothing but −∞ so far is no distribution: its sum becomes
/// NaN.
LONGROPE_HOST_DEVICE inline void add_tile(LogitState& state, const LogitState& tile) {
  state = merged(state, tile);
  if (state.largest == -INFINITY) state.exponentials = NAN;
}

/// log Σ exp(logits).
LONGROPE_HOST_DEVICE inline float log_sum(const LogitState& state) {
  return state.largest + std::log(state.exponentials);
}

/// log Σ exp(logits) − logits[target], in nats.
LONGROPE_HOST_DEVICE inline float negative_log_likelihood(const LogitState& state) {
  return log_sum(state) - state.target_logit;
}

}  // namespace longrope

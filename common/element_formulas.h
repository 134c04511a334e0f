#pragma once

#include <cmath>
#include <cstdint>

// The arithmetic of one element, once for the host and for CUDA devices (worker/kernels/cuda). Pure functions, no CUDA
// header. Device code is compiled without contraction to fused multiply-adds, as the host's is, so that the two differ
// by no more than their libraries' cos, sin and exp.
#ifdef __CUDACC__
#define LONGROPE_HOST_DEVICE __host__ __device__
#else
#define LONGROPE_HOST_DEVICE
#endif

namespace longrope {

/// What the angles of a document follow (Eq. 3, spec §1), in the arithmetic of an angle mode: double or float.
template <typename Real>
struct RotaryAngles {
  const Real* original;  // [pairs] f_i in radians per token, of positions below n_hat
  const Real* rescaled;  // [pairs] f_i/λ_i, of the others
  Real attention;        // m of the others; below n_hat it is 1
  std::int64_t n_hat;
};

/// n·f_i for n < n_hat, n·f_i/λ_i otherwise; radians.
template <typename Real>
LONGROPE_HOST_DEVICE inline Real rotary_angle(const RotaryAngles<Real>& angles, std::int64_t position,
                                              std::int64_t pair) {
  return static_cast<Real>(position) * (position < angles.n_hat ? angles.original : angles.rescaled)[pair];
}

/// cos and sin of an angle, m included.
struct Turn {
  float cos;
  float sin;
};

template <typename Real>
LONGROPE_HOST_DEVICE inline Turn rotary_turn(const RotaryAngles<Real>& angles, std::int64_t position,
                                             std::int64_t pair) {
  const Real angle = rotary_angle(angles, position, pair);
  const Real magnitude = position < angles.n_hat ? Real{1} : angles.attention;
  return {static_cast<float>(std::cos(angle) * magnitude), static_cast<float>(std::sin(angle) * magnitude)};
}

/// Channels i and i + pairs of a head.
struct ChannelPair {
  float first;
  float second;
};

LONGROPE_HOST_DEVICE inline ChannelPair turned(ChannelPair pair, Turn by) {
  return {pair.first * by.cos - pair.second * by.sin, pair.second * by.cos + pair.first * by.sin};
}

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

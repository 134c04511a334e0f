#pragma once

// The work of one thread of a CUDA kernel, as functions of the thread's index. They run on the host too: the tests call
// them for one thread after the other. `Element` is a type that converts to and from float, such as __nv_bfloat16.

#include "worker/kernels/cuda/cuda_kernels.h"

#include <cstdint>

namespace longrope {

/// Threads that share one row of a tile of logits; a power of two.
inline constexpr int kThreadsPerRow = 256;

template <typename Real>
LONGROPE_HOST_DEVICE inline std::int64_t rotation_threads(const Rotation<Real>& rotation) {
  return rotation.tokens * rotation.pairs;
}

/// Rotates one pair of one token in all heads: cos and sin, the expensive part, are computed once for all heads. With a
/// cache, also copies to it this thread's share of what is not rotated. Neighbouring threads take neighbouring
/// channels.
template <typename Element, typename Real>
LONGROPE_HOST_DEVICE inline void rotate_thread(const Rotation<Real>& rotation, std::int64_t thread) {
  const KeyValueRows& cache = rotation.cache;
  const std::int64_t token = thread / rotation.pairs;
  const std::int64_t pair = thread % rotation.pairs;
  const std::int64_t place = rotation.sequence_tokens > 0 ? token % rotation.sequence_tokens : token;
  const CosSin by = rotary_cos_sin(rotation.angles, rotation.first_position + place, pair);
  Element* const row = static_cast<Element*>(rotation.rows) + token * rotation.stride;
  const std::int64_t first_key = rotation.heads - cache.heads;
  for (std::int64_t head = 0; head < rotation.heads; ++head) {
    Element* const in = row + head * rotation.head_dim;
    Element* out = in;
    if (head >= first_key) {
      out = static_cast<Element*>(cache.keys) + token * cache.stride + (head - first_key) * rotation.head_dim;
      for (std::int64_t channel = 2 * rotation.pairs + pair; channel < rotation.head_dim; channel += rotation.pairs) {
        out[channel] = in[channel];
      }
    }
    const std::int64_t other = pair + rotation.pairs;
    const ChannelPair result = rotated({static_cast<float>(in[pair]), static_cast<float>(in[other])}, by);
    out[pair] = static_cast<Element>(result.first);
    out[other] = static_cast<Element>(result.second);
  }
  for (std::int64_t channel = pair; channel < cache.heads * rotation.head_dim; channel += rotation.pairs) {
    static_cast<Element*>(cache.values)[token * cache.stride + channel] =
        row[rotation.heads * rotation.head_dim + channel];
  }
}

/// The state of a row after the columns of one thread: thread, thread + kThreadsPerRow, ….
template <typename Element>
LONGROPE_HOST_DEVICE inline LogitState logits_of_thread(const LogitTile& tile, std::int64_t row, int thread) {
  const Element* const logits = static_cast<const Element*>(tile.logits) + row * tile.stride;
  LogitState state = no_logits();
  for (std::int64_t column = thread; column < tile.columns; column += kThreadsPerRow) {
    add_logit(state, static_cast<std::int32_t>(tile.first_column + column), static_cast<float>(logits[column]));
  }
  return state;
}

/// One thread's step of the tree that joins the threads of a row, for distance kThreadsPerRow / 2, …, 2, 1; all threads
/// wait for each other between two steps.
LONGROPE_HOST_DEVICE inline void join_thread(LogitState* states, int thread, int distance) {
  if (thread < distance) states[thread] = merged(states[thread], states[thread + distance]);
}

/// Merges the joined state of a row's threads into the row's own, and stores the target's logit when this tile has its
/// column.
template <typename Element>
LONGROPE_HOST_DEVICE inline void finish_row(const LogitTile& tile, std::int64_t row, const LogitState& joined) {
  LogitState& state = tile.states[row];
  add_tile(state, joined);
  const std::int64_t column = tile.targets[row] - tile.first_column;
  if (column >= 0 && column < tile.columns) {
    state.target_logit = static_cast<float>(static_cast<const Element*>(tile.logits)[row * tile.stride + column]);
  }
}

}  // namespace longrope

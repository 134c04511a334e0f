#pragma once

#include "common/host_device.h"

#include <cmath>
#include <cstdint>

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

}  // namespace longrope

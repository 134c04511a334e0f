#pragma once

#include "common/host_device.h"

#include <cmath>
#include <cstdint>

namespace longrope {

/// What the angles of one candidate are computed from (Eq. 3, spec §1), in the arithmetic of an angle mode: double or
/// float. Points to arrays that it does not own.
template <typename Real>
struct RotaryAngles {
  const Real* original;  // [pairs] f_i in radians per token, for positions below n_hat
  const Real* rescaled;  // [pairs] f_i/λ_i in radians per token, for positions from n_hat on
  Real attention;        // m for positions from n_hat on; below n_hat m is 1
  std::int64_t n_hat;    // leading positions that keep the original angle
};

/// Angle of pair i at position n in radians: n·f_i for n < n_hat, n·f_i/λ_i otherwise.
template <typename Real>
LONGROPE_HOST_DEVICE inline Real rotary_angle(const RotaryAngles<Real>& angles, std::int64_t position,
                                              std::int64_t pair) {
  return static_cast<Real>(position) * (position < angles.n_hat ? angles.original : angles.rescaled)[pair];
}

/// cos and sin of an angle, each multiplied by m.
struct CosSin {
  float cos;
  float sin;
};

template <typename Real>
LONGROPE_HOST_DEVICE inline CosSin rotary_cos_sin(const RotaryAngles<Real>& angles, std::int64_t position,
                                                  std::int64_t pair) {
  const Real angle = rotary_angle(angles, position, pair);
  const Real magnitude = position < angles.n_hat ? Real{1} : angles.attention;
  return {static_cast<float>(std::cos(angle) * magnitude), static_cast<float>(std::sin(angle) * magnitude)};
}

/// The two channels of a head that are rotated together: i and i + pairs.
struct ChannelPair {
  float first;
  float second;
};

/// The pair, rotated by the angle and multiplied by m.
LONGROPE_HOST_DEVICE inline ChannelPair rotated(ChannelPair pair, CosSin by) {
  return {pair.first * by.cos - pair.second * by.sin, pair.second * by.cos + pair.first * by.sin};
}

}  // namespace longrope

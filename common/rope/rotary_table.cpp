#include "common/rope/rotary_table.h"

#include "common/error.h"
#include "common/rope/rotary_formulas.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace longrope {
namespace {

template <typename Real>
RotaryAngles<Real> angles_of(const RotaryFrequencies<Real>& frequencies, const RescaleFactors& factors) {
  return {frequencies.original.data(), frequencies.rescaled.data(), static_cast<Real>(factors.attention.value),
          factors.n_hat};
}

template <typename Real>
void fill(RotaryTable& table, const RotaryFrequencies<Real>& frequencies, const RescaleFactors& factors,
          std::int64_t begin) {
  const RotaryAngles<Real> angles = angles_of(frequencies, factors);
  const auto pairs = static_cast<std::int64_t>(table.pairs);
  std::size_t cell = 0;
  for (std::int64_t position = begin; position < begin + table.positions; ++position) {
    for (std::int64_t pair = 0; pair < pairs; ++pair, ++cell) {
      const CosSin values = rotary_cos_sin(angles, position, pair);
      table.cos[cell] = values.cos;
      table.sin[cell] = values.sin;
    }
  }
}

}  // namespace

std::string_view to_string(AngleMode mode) {
  switch (mode) {
    case AngleMode::kFp64:
      return "fp64";
    case AngleMode::kHfFp32:
      return "hf_fp32";
  }
  throw Error(fmt::format("angle mode must be known: {}", static_cast<int>(mode)));
}

AngleMode parse_angle_mode(std::string_view text) {
  for (const auto mode : {AngleMode::kFp64, AngleMode::kHfFp32}) {
    if (text == to_string(mode)) return mode;
  }
  throw InputError(fmt::format("angle mode must be fp64 or hf_fp32: {}", text));
}

RotaryFrequencies<double> rotary_frequencies_fp64(const RotaryGeometry& geometry, const RescaleFactors& factors) {
  validate(factors, geometry.pairs(), "rotary frequencies");
  RotaryFrequencies<double> frequencies{.original = inverse_frequencies(geometry), .rescaled = {}};
  frequencies.rescaled = frequencies.original;
  for (std::size_t pair = 0; pair < factors.lambda.size(); ++pair) frequencies.rescaled[pair] /= factors.lambda[pair];
  return frequencies;
}

RotaryFrequencies<float> rotary_frequencies_hf_fp32(const RotaryGeometry& geometry, const RescaleFactors& factors) {
  validate(factors, geometry.pairs(), "rotary frequencies");
  RotaryFrequencies<float> frequencies;
  for (std::size_t pair = 0; pair < geometry.pairs(); ++pair) {
    const float exponent = static_cast<float>(2 * pair) / static_cast<float>(geometry.rotary_dim);
    const float power = std::pow(static_cast<float>(geometry.rope_theta), exponent);
    frequencies.original.push_back(1.0F / power);
    frequencies.rescaled.push_back(1.0F / (static_cast<float>(factors.lambda[pair]) * power));
  }
  return frequencies;
}

double rescaled_angle(const RotaryGeometry& geometry, const RescaleFactors& factors, std::int64_t position,
                      std::size_t pair) {
  validate(factors, geometry.pairs(), "rotary table");
  if (position < 0) throw InputError(fmt::format("position must be >= 0: {}", position));
  if (pair >= geometry.pairs()) throw InputError(fmt::format("pair must be below {}: {}", geometry.pairs(), pair));
  const RotaryFrequencies<double> frequencies = rotary_frequencies_fp64(geometry, factors);
  return rotary_angle(angles_of(frequencies, factors), position, static_cast<std::int64_t>(pair));
}

RotaryTable rotary_table(const RotaryGeometry& geometry, const RescaleFactors& factors, std::int64_t begin,
                         std::int64_t end, AngleMode mode) {
  validate(factors, geometry.pairs(), "rotary table");
  if (begin < 0 || end < begin) {
    throw InputError(fmt::format("positions must not be negative or backwards: {} to {}", begin, end));
  }
  RotaryTable table;
  table.positions = end - begin;
  table.pairs = geometry.pairs();
  const auto rows = static_cast<std::size_t>(table.positions);
  if (rows > std::numeric_limits<std::size_t>::max() / sizeof(float) / table.pairs) {
    throw InputError(fmt::format("rotary table must fit the address space: {} positions", table.positions));
  }
  table.cos.resize(rows * table.pairs);
  table.sin.resize(rows * table.pairs);
  if (mode == AngleMode::kFp64) {
    fill(table, rotary_frequencies_fp64(geometry, factors), factors, begin);
  } else {
    fill(table, rotary_frequencies_hf_fp32(geometry, factors), factors, begin);
  }
  return table;
}

}  // namespace longrope

#include "common/rope/rotary_table.h"

#include "common/error.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace longrope {
namespace {

/// All f_i, then all f_i/λ_i.
std::vector<double> frequencies_fp64(const RotaryGeometry& geometry, const RescaleFactors& factors) {
  const std::vector<double> original = inverse_frequencies(geometry);
  std::vector<double> frequencies = original;
  for (std::size_t pair = 0; pair < original.size(); ++pair) {
    frequencies.push_back(original[pair] / factors.lambda[pair]);
  }
  return frequencies;
}

/// The same in float, as Hugging Face rounds.
std::vector<float> frequencies_hf_fp32(const RotaryGeometry& geometry, const RescaleFactors& factors) {
  std::vector<float> original;
  std::vector<float> rescaled;
  for (std::size_t pair = 0; pair < geometry.pairs(); ++pair) {
    const float exponent = static_cast<float>(2 * pair) / static_cast<float>(geometry.rotary_dim);
    const float power = std::pow(static_cast<float>(geometry.rope_theta), exponent);
    original.push_back(1.0F / power);
    rescaled.push_back(1.0F / (static_cast<float>(factors.lambda[pair]) * power));
  }
  original.insert(original.end(), rescaled.begin(), rescaled.end());
  return original;
}

template <typename Real>
void fill(RotaryTable& table, const RotaryAngles<Real>& angles, std::int64_t begin) {
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
  throw Error(fmt::format("unknown angle mode: {}", static_cast<int>(mode)));
}

AngleMode parse_angle_mode(std::string_view text) {
  for (const auto mode : {AngleMode::kFp64, AngleMode::kHfFp32}) {
    if (text == to_string(mode)) return mode;
  }
  throw InputError(fmt::format("angle mode must be fp64 or hf_fp32: {}", text));
}

RotaryFrequencies::RotaryFrequencies(const RotaryGeometry& geometry, const RescaleFactors& factors, AngleMode mode,
                                     std::string_view place)
    : attention_(factors.attention.value), n_hat_(factors.n_hat) {
  validate(factors, geometry.pairs(), place);
  if (mode == AngleMode::kFp64) {
    frequencies_ = frequencies_fp64(geometry, factors);
  } else {
    frequencies_ = frequencies_hf_fp32(geometry, factors);
  }
}

std::size_t RotaryFrequencies::pairs() const {
  return std::visit([](const auto& frequencies) { return frequencies.size() / 2; }, frequencies_);
}

std::variant<RotaryAngles<double>, RotaryAngles<float>> RotaryFrequencies::angles() const {
  using Angles = std::variant<RotaryAngles<double>, RotaryAngles<float>>;
  return std::visit(
      [&]<typename Real>(const std::vector<Real>& frequencies) -> Angles {
        return RotaryAngles<Real>{frequencies.data(), frequencies.data() + frequencies.size() / 2,
                                  static_cast<Real>(attention_), n_hat_};
      },
      frequencies_);
}

RotaryTable rotary_table(const RotaryFrequencies& frequencies, std::int64_t begin, std::int64_t end) {
  if (begin < 0 || end < begin) {
    throw InputError(fmt::format("positions must not be negative or backwards: {} to {}", begin, end));
  }
  RotaryTable table;
  table.positions = end - begin;
  table.pairs = frequencies.pairs();
  const auto rows = static_cast<std::size_t>(table.positions);
  if (rows > std::numeric_limits<std::size_t>::max() / sizeof(float) / table.pairs) {
    throw InputError(fmt::format("rotary table must fit the address space: {} positions", table.positions));
  }
  table.cos.resize(rows * table.pairs);
  table.sin.resize(rows * table.pairs);
  std::visit([&](const auto& angles) { fill(table, angles, begin); }, frequencies.angles());
  return table;
}

}  // namespace longrope

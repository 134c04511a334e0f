#include "common/random_stream.h"

#include "common/sha256.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>
#include <utility>

namespace longrope {
namespace {

/// First 64 bits of SHA-256 over the key. Keys differ in a few bits (index k and k + 1), and SplitMix64 streams whose
/// states differ by a multiple of its increment overlap; a cryptographic hash makes either a matter of chance.
std::uint64_t state_for(std::uint64_t seed, std::string_view stage, std::uint64_t index) {
  constexpr std::size_t kHexDigitsOf64Bits = 16;
  const std::string digest =
      Sha256().field(static_cast<std::int64_t>(seed)).field(stage).field(static_cast<std::int64_t>(index)).hex();
  std::uint64_t state = 0;
  std::from_chars(digest.data(), digest.data() + kHexDigitsOf64Bits, state, /*base=*/16);
  return state;
}

}  // namespace

RandomStream::RandomStream(std::uint64_t seed, std::string_view stage, std::uint64_t index)
    : state_(state_for(seed, stage, index)) {}

std::uint64_t RandomStream::bits() {
  // SplitMix64 (Steele, Lea, Flood 2014): constants are the algorithm's.
  state_ += 0x9E3779B97F4A7C15ULL;
  std::uint64_t mixed = state_;
  mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBULL;
  return mixed ^ (mixed >> 31U);
}

double RandomStream::uniform() {
  constexpr unsigned kUnusedBits = 64 - std::numeric_limits<double>::digits;
  return static_cast<double>(bits() >> kUnusedBits) * (std::numeric_limits<double>::epsilon() / 2);
}

std::uint64_t RandomStream::below(std::uint64_t bound) {
  if (bound == 0) throw std::invalid_argument("bound must be positive: 0");
  // The lowest 2^64 mod bound values would make small remainders likelier: draw again.
  const std::uint64_t biased = (std::uint64_t{0} - bound) % bound;
  std::uint64_t drawn = bits();
  while (drawn < biased) drawn = bits();
  return drawn % bound;
}

std::int64_t RandomStream::between(std::int64_t low, std::int64_t high) {
  if (low > high) {
    throw std::invalid_argument("low must not exceed high: " + std::to_string(low) + " > " + std::to_string(high));
  }
  const std::uint64_t count = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) + 1;
  const std::uint64_t offset = count == 0 ? bits() : below(count);  // 0: all 2^64 values
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + offset);
}

double RandomStream::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));  // 1 − u is never 0
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

void RandomStream::shuffle(std::span<std::size_t> values) {
  for (std::size_t left = values.size(); left > 1; --left) std::swap(values[left - 1], values[below(left)]);
}

}  // namespace longrope

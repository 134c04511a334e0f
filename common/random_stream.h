#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace longrope {

/// Random numbers keyed by (seed, stage, index): candidate k's stream is the same whoever computes it and whenever, so
/// no generator state is ever saved (design §4). SplitMix64; the draws below are ours because std distributions differ
/// between standard libraries.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::string_view stage, std::uint64_t index);

  std::uint64_t bits();
  double uniform();  // [0, 1), 53 bits
  // The next two throw std::invalid_argument for an empty range.
  std::uint64_t below(std::uint64_t bound);                   // [0, bound), unbiased; bound > 0
  std::int64_t between(std::int64_t low, std::int64_t high);  // [low, high], unbiased
  bool chance(double probability) { return uniform() < probability; }
  double normal();  // mean 0, deviation 1 (Box–Muller)
  /// Brings the values into a random order, each as likely as another (Fisher–Yates).
  void shuffle(std::span<std::size_t> values);

 private:
  std::uint64_t state_;
};

}  // namespace longrope

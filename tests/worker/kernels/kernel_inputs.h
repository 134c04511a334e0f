#pragma once

// What the tests of the CPU kernels put in: random numbers, and keys and values in the kernels' layout.

#include "worker/kernels/cpu_kernels.h"

#include <cstdint>
#include <vector>

namespace longrope {

using Operands = std::vector<std::uint32_t>;  // of either type

/// Normally distributed; the same for the same seed.
[[nodiscard]] std::vector<float> random_values(std::int64_t count, std::uint32_t seed);

/// The kernels that this processor can run, and AVX2's in AVX-512's blocks; Avx512IsTestedToo and Bfloat16IsTestedToo
/// say aloud what is missing.
[[nodiscard]] std::vector<const CpuKernels*> available_kernels();

/// Keys and values [positions, head_dim] of one head as the kernels keep them, stored `rows_at_once` positions at a
/// time.
class HeadCache {
 public:
  HeadCache(const CpuKernels& kernels, const std::vector<float>& key, const std::vector<float>& value,
            std::int64_t head_dim, std::int64_t rows_at_once);

  [[nodiscard]] const Operands& keys() const { return keys_; }
  [[nodiscard]] const Operands& values() const { return values_; }

 private:
  Operands keys_;
  Operands values_;
};

}  // namespace longrope

#include "tests/worker/kernels/kernel_inputs.h"

#include <algorithm>
#include <cstddef>
#include <random>

namespace longrope {

#ifdef LONGROPE_X86_KERNELS
extern const CpuKernels kTwelveRowKernels;  // twelve_row_kernels.cpp
#endif

std::vector<float> random_values(std::int64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  std::ranges::generate(values, [&] { return normal(random); });
  return values;
}

std::vector<const CpuKernels*> available_kernels() {
  std::vector<const CpuKernels*> available;
#ifdef LONGROPE_X86_KERNELS
  if (avx2_kernels() != nullptr) available = {avx2_kernels(), &kTwelveRowKernels};
#endif
  if (avx512_kernels() != nullptr) available.push_back(avx512_kernels());
  if (avx512_bfloat16_kernels() != nullptr) available.push_back(avx512_bfloat16_kernels());
  return available;
}

HeadCache::HeadCache(const CpuKernels& kernels, const std::vector<float>& key, const std::vector<float>& value,
                     std::int64_t head_dim, std::int64_t rows_at_once) {
  const std::int64_t positions = static_cast<std::int64_t>(key.size()) / head_dim;
  // Not numbers: what is not written must not count.
  const auto unwritten = [](std::int64_t count) { return Operands(static_cast<std::size_t>(count), 0xFFFFFFFFU); };
  keys_ = unwritten(key_operands(kernels.operands, positions, head_dim));
  values_ = unwritten(value_operands(kernels.operands, positions, head_dim));
  for (std::int64_t first = 0; first < positions; first += rows_at_once) {
    const std::int64_t rows = std::min(rows_at_once, positions - first);
    const auto head_rows = [&](const std::vector<float>& from, Operands& to) {
      return HeadRows{{from.data() + first * head_dim, head_dim, rows}, first, head_dim, to.data()};
    };
    kernels.store_keys(head_rows(key, keys_));
    kernels.store_values(head_rows(value, values_));
  }
}

}  // namespace longrope

#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace longrope {

/// A GPU by its maker's data sheet.
struct PublishedGpu {
  std::string_view name;       // as in the driver's "NVIDIA H100 80GB HBM3"
  double bf16_tflops = 0.0;    // dense bfloat16 products with float32 sums, without sparsity, at the peak
  double fp32_tflops = 0.0;    // float32, without tensor cores, at the peak
  std::int64_t gibibytes = 0;  // memory, of the largest variant
};

/// What matrix products and attention of a long document are assumed to sustain of the peak, where nothing was
/// measured.
inline constexpr double kSustainedShare = 0.4;

/// Data-sheet figures of GPUs that long contexts are computed on.
[[nodiscard]] std::span<const PublishedGpu> published_gpus();
/// The GPU that the driver calls `model`; null for one that is not in the list.
[[nodiscard]] const PublishedGpu* published_gpu(std::string_view model);

}  // namespace longrope

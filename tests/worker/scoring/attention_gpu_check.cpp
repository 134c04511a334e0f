// Compares Torch's attention kernels on a CUDA device, as the worker calls them, with double precision where kernels
// have been wrong without saying so, and prints a Markdown table. Then times them, for the table of
// attention_choice.cpp. Without a GPU it says NOT RUN and ends well; it ends with 1 when every kernel for a model is
// wrong somewhere.

#include "worker/scoring/attention_choice.h"
#include "worker/scoring/compute_device.h"
#include "worker/scoring/gpu_driver.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <vector>

namespace longrope {
namespace {

// 16 queries at the end of 2^16 keys and about, keys % 32 == 1, windows; and a whole tile from position 0 on.
constexpr std::array kCases = {AttentionCase{.queries = 16, .keys = 65'535, .window = 0},
                               AttentionCase{.queries = 16, .keys = 65'536, .window = 0},
                               AttentionCase{.queries = 16, .keys = 65'537, .window = 0},
                               AttentionCase{.queries = 16, .keys = 131'073, .window = 0},
                               AttentionCase{.queries = 16, .keys = 131'073, .window = 70'001},
                               AttentionCase{.queries = 500, .keys = 4'001, .window = 129},
                               AttentionCase{.queries = 1, .keys = 8'193, .window = 0},
                               AttentionCase{.queries = 2'049, .keys = 2'049, .window = 0}};

struct Verdict {
  bool right = true;
  std::string text;
};

Verdict verdict_of(const FusedAttention& kernel, const AttentionHeads& heads, const AttentionCase& attention,
                   const at::TensorOptions& options) {
  try {
    const double error = attention_error(kernel, heads, attention, options);
    const bool right = error < tolerated_attention_error(c10::typeMetaToScalarType(options.dtype()));
    return {right, fmt::format("{:.1e} | {}", error, right ? "right" : "WRONG")};
  } catch (const c10::Error& error) {
    std::string what = error.what_without_backtrace();
    std::ranges::replace(what, '\n', ' ');
    return {false, fmt::format("- | failed: {}", what.substr(0, 160))};
  }
}

/// Prints the rows of one model; true when some kernel for it is right everywhere.
bool check(std::int64_t capability, const AttentionHeads& heads, const at::TensorOptions& options) {
  bool usable = false;
  const at::ScalarType dtype = c10::typeMetaToScalarType(options.dtype());
  for (const FusedAttention* const kernel : device_attention(capability, dtype, heads)) {
    bool right = true;
    for (const AttentionCase& attention : kCases) {
      const Verdict verdict = verdict_of(*kernel, heads, attention, options);
      right = right && verdict.right;
      fmt::print("| {} | {} | {} | {} | {} | {} | {} |\n", kernel->name, c10::toString(dtype), attention.keys,
                 heads.head_dim, heads.query_heads / heads.key_value_heads, attention.window, verdict.text);
      std::fflush(stdout);
    }
    usable = usable || right;
  }
  return usable;
}

/// Milliseconds of one tile at the end of so many keys, the best of three.
double milliseconds(const FusedAttention& kernel, const AttentionHeads& heads, std::int64_t keys,
                    const at::TensorOptions& options) {
  constexpr std::int64_t kTile = 8'192;
  const at::Tensor queries = at::randn({kTile, heads.query_heads, heads.head_dim}, options);
  const at::Tensor key = at::randn({keys, heads.key_value_heads, heads.head_dim}, options);
  const at::Tensor value = at::randn({keys, heads.key_value_heads, heads.head_dim}, options);
  double best = 1e9;
  for (int repeat = 0; repeat < 4; ++repeat) {  // the first makes plans
    const double begun = seconds_when_finished(options.device());
    (void)attend_causal(kernel, queries, key, value, /*window=*/0);
    if (repeat > 0) best = std::min(best, 1e3 * (seconds_when_finished(options.device()) - begun));
  }
  return best;
}

void time_kernels(const at::TensorOptions& options) {
  constexpr std::int64_t kKeys = 131'072;
  fmt::print(
      "\n| kernel | query heads | key-value heads | head_dim | ms for 8,192 queries of 131,072 | TFLOP/s |\n"
      "|---|---|---|---|---|---|\n");
  for (const AttentionHeads heads :
       {AttentionHeads{32, 8, 128}, AttentionHeads{32, 8, 64}, AttentionHeads{28, 4, 128}}) {
    for (const FusedAttention* const kernel : {&kFlashAttention, &kCudnnAttention}) {
      try {
        const double ms = milliseconds(*kernel, heads, kKeys, options);
        const double keys = static_cast<double>(kKeys) - 4'096.0;  // of each query, on average
        const double operations = 4.0 * 8'192.0 * keys * static_cast<double>(heads.query_heads * heads.head_dim);
        fmt::print("| {} | {} | {} | {} | {:.2f} | {:.0f} |\n", kernel->name, heads.query_heads, heads.key_value_heads,
                   heads.head_dim, ms, operations / ms / 1e9);
      } catch (const c10::Error& error) {
        fmt::print("| {} | {} | {} | {} | failed | - |\n", kernel->name, heads.query_heads, heads.key_value_heads,
                   heads.head_dim);
      }
      std::fflush(stdout);
    }
  }
}

int check_all() {
  if (!at::hasCUDA()) {
    fmt::print("NOT RUN: there is no CUDA device\n");
    return 0;
  }
  const c10::InferenceMode inference;
  const std::vector<DriverGpu> gpus = gpus_of_driver();
  if (gpus.empty()) {
    fmt::print("NVIDIA's driver names no GPU\n");
    return 1;
  }
  const std::int64_t capability = gpus.front().capability;
  fmt::print(
      "{}, compute capability {}\n\n| kernel | dtype | keys | head_dim | group | window | largest error | verdict "
      "|\n|---|---|---|---|---|---|---|---|\n",
      gpus.front().model, capability);
  bool all_usable = true;
  const at::Device device("cuda");
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const AttentionHeads heads :
         {AttentionHeads{8, 1, 128}, AttentionHeads{2, 2, 128}, AttentionHeads{8, 8, 64}, AttentionHeads{8, 2, 80}}) {
      const at::TensorOptions options = at::TensorOptions().dtype(dtype).device(device);
      all_usable = check(capability, heads, options) && all_usable;
    }
  }
  time_kernels(at::TensorOptions().dtype(at::kBFloat16).device(device));
  return all_usable ? 0 : 1;
}

}  // namespace
}  // namespace longrope

int main() { return longrope::check_all(); }

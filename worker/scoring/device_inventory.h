#pragma once

#include <cstdint>
#include <string>

namespace longrope {

// What can be computed on here, as Torch sees it. Free of Torch's headers, for the command that prints it.

/// How many CUDA devices this Torch can compute on, named cuda:0, cuda:1, …; when none, `why_none` says why.
struct UsableGpus {
  std::int64_t count = 0;
  std::string why_none;  // "this build has no CUDA"
};
[[nodiscard]] UsableGpus usable_gpus();
/// TFLOP/s that a float32 matrix product sustains on the CPU with so many threads, measured for about a second.
[[nodiscard]] double measured_cpu_tflops(std::int64_t threads);

}  // namespace longrope

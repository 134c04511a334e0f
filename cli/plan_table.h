#pragma once

#include "pipeline/run_plan.h"

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace longrope {

/// What a run is planned on.
struct PlanTableOptions {
  /// TFLOP/s that each device sustains. Default 0: unknown, so that there are no hours.
  double device_tflops = 0.0;
  /// Where that number is from, for the reader: "measured: a float32 product on 2 threads". Default: given by hand.
  std::string basis = "--device-tflops";
  /// Numbers of devices; a column of hours for each. The first is what this run would use.
  std::vector<std::int64_t> devices = {1};
  /// What the devices are called: "cuda:0 (NVIDIA H200)". Default: nothing is known of them.
  std::string device_name = "devices";
  /// Whether they are GPUs, which take other memory than a CPU. Default: a CPU.
  bool on_gpu = false;
  /// Memory in bytes of one device. Default 0: unknown, so that nothing is marked as too large.
  std::int64_t device_memory = 0;
  /// Dtype of scoring, which the published figures are chosen by.
  ComputeDtype dtype = ComputeDtype::kFp32;
};

/// A line for each stage and one for all of them; what was assumed, what does not fit a device and what to do then; and
/// hours on GPUs by their published figures.
void write_plan(const std::vector<StageCost>& stages, const PlanTableOptions& options, std::ostream& out);

}  // namespace longrope

#pragma once

#include "pipeline/run_plan.h"

#include <cstdint>
#include <iosfwd>
#include <vector>

namespace longrope {

struct PlanTableOptions {
  double device_tflops = 150.0;                // TFLOP/s that one device sustains
  std::vector<std::int64_t> devices = {1, 8};  // numbers of devices; a column of hours for each
};

/// A line for each stage and one for all of them.
void write_plan(const std::vector<StageCost>& stages, const PlanTableOptions& options, std::ostream& out);

}  // namespace longrope

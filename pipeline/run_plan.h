#pragma once

#include "common/model/model_description.h"
#include "config/config.h"

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

namespace longrope {

/// What a stage costs at most; stop rules may end a search earlier.
struct StageCost {
  std::string name;
  std::string kind;
  std::int64_t length = 0;        // tokens of one pass; 0: the stage computes nothing
  std::int64_t candidates = 0;    // of a search
  std::int64_t passes = 0;        // forward passes; of a fine-tuning samples
  double tokens = 0.0;            // all of them
  double operations = 0.0;        // FLOP
  std::int64_t memory_bytes = 0;  // of one device, by estimate
  [[nodiscard]] double hours(double device_tflops, std::int64_t devices) const;
};

/// FLOP of one forward pass over `tokens`, causal attention counted as half a square (spec §6.6).
[[nodiscard]] double forward_operations(const ModelDescription& model, std::int64_t tokens);

/// Every stage of a search or a pipeline. Reads config.json of the model, and documents files whose number of documents
/// the configuration does not say. Throws InputError for what cannot be read.
[[nodiscard]] std::vector<StageCost> plan_run(const Config& config);

struct PlanOptions {
  double device_tflops = 150.0;  // sustained, of one device
  std::vector<std::int64_t> devices = {1, 8};
};
void write_plan(const std::vector<StageCost>& stages, const PlanOptions& options, std::ostream& out);

}  // namespace longrope

#pragma once

#include "common/model/model_description.h"
#include "config/config.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// What a stage costs at most; stop rules may end a search earlier.
struct StageCost {
  std::string name;               // the stage's
  std::string kind;               // the stage's: "search", "finetune", …
  std::int64_t length = 0;        // tokens of the longest pass; 0: the stage computes nothing
  std::int64_t candidates = 0;    // candidates of a search, 0 for other kinds
  std::int64_t passes = 0;        // forward passes; samples of a fine-tuning
  double tokens = 0.0;            // tokens of all passes
  double operations = 0.0;        // FLOP
  std::int64_t memory_bytes = 0;  // bytes on one device, by estimate

  void add_passes(const ModelDescription& model, std::int64_t tokens_of_each, std::int64_t count);
  [[nodiscard]] double hours(double device_tflops, std::int64_t devices) const;
};

/// FLOP of one forward pass over `tokens`, causal attention counted as half a square (spec §6.6).
[[nodiscard]] double forward_operations(const ModelDescription& model, std::int64_t tokens);
/// Bytes that scoring a document of `length` tokens takes on a device that holds the whole model, by estimate.
[[nodiscard]] std::int64_t scoring_memory(const ModelDescription& model, ComputeDtype dtype, std::int64_t length);
/// `count`, or without one as many documents as there are in `file`, which is read then.
[[nodiscard]] std::int64_t documents_in(const std::filesystem::path& file, std::optional<std::int64_t> count);

/// The costs of every stage of a search or a pipeline. Reads config.json of the model, seed files, and documents files
/// whose number of documents the configuration does not say. Throws InputError for what cannot be read, and for
/// settings that the stage could not begin with (require_search_possible(), require_consistent()).
[[nodiscard]] std::vector<StageCost> plan_run(const Config& config);

}  // namespace longrope

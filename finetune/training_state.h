#pragma once

#include "finetune/training_run.h"
#include "worker/model/layer_weights.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// What a run needs to continue with the same bits, in one file that is replaced whole: settings, steps so far, and
/// tensors (parameters and moments).
struct TrainingState {
  nlohmann::json settings;  // an object; two runs continue each other only when theirs are equal
  std::vector<TrainingStep> steps;
};

/// Throws Error when writing fails; the state before it is then still there.
void write_training_state(const std::filesystem::path& path, const TrainingState& state,
                          const std::vector<NamedTensor>& tensors);
/// Fills `tensors`, which have the shapes and dtypes that are expected. Nullopt when there is no file. Throws
/// InputError for a file that is none of ours, and for other settings, naming the first key that differs.
[[nodiscard]] std::optional<TrainingState> read_training_state(const std::filesystem::path& path,
                                                               const nlohmann::json& settings,
                                                               const std::vector<NamedTensor>& tensors);

/// One JSON object in a line for each step: training_log.jsonl.
[[nodiscard]] std::string training_log(const std::vector<TrainingStep>& steps);

}  // namespace longrope

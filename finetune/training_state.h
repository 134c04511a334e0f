#pragma once

#include "finetune/training_run.h"
#include "finetune/training_samples.h"
#include "worker/model/layer_weights.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// What a run needs to continue with the same bits, in one file that is replaced whole: these members, and tensors
/// (parameters and moments).
struct TrainingState {
  nlohmann::json settings;          // state_settings(); a run continues another only when they are equal
  std::vector<TrainingStep> steps;  // updates done so far
};

/// Everything that the bits of the result depend on, as one JSON object: training_identity() of the settings; the
/// micro-batch sizes in use; SHA-256 digests of model, factors and documents; lengths; the number of processes; and
/// `arithmetic`, which describes device, threads and kernels (describe_placement()). Reads the model's files.
[[nodiscard]] nlohmann::json state_settings(const TrainingOptions& options, const TrainingSamples& samples,
                                            const std::optional<TrainingSamples>& short_samples,
                                            const std::string& arithmetic);

/// Throws Error when writing fails; the state that was there before is then still there.
void write_training_state(const std::filesystem::path& path, const TrainingState& state,
                          const std::vector<NamedTensor>& tensors);
/// Reads a state and copies its tensors into `tensors`, which have the expected names and shapes (float32). Nullopt
/// when there is no file. Throws InputError for a file of another format, and for other settings, naming the first key
/// that differs with both values.
[[nodiscard]] std::optional<TrainingState> read_training_state(const std::filesystem::path& path,
                                                               const nlohmann::json& settings,
                                                               const std::vector<NamedTensor>& tensors);

/// The content of training_log.jsonl: one JSON object per line and step.
[[nodiscard]] std::string training_log(const std::vector<TrainingStep>& steps);

}  // namespace longrope

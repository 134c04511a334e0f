#pragma once

#include "config/config.h"
#include "pipeline/pipeline_places.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace longrope {

/// Runs a search with its database to its end: false when it was stopped by a signal.
using RunSearch = std::function<bool(const Config& config, const std::filesystem::path& database)>;

/// What the stages of a pipeline are given to work with.
struct PipelineContext {
  const Config& config;
  std::filesystem::path database;
  const PipelinePlaces& places;
  const RunSearch& search;
};

enum class WorkEnd { kDone, kStopped, kWaiting };

struct StageWork {
  WorkEnd end = WorkEnd::kDone;
  std::filesystem::path output;  // kDone
  std::string detail;            // kWaiting: what for
};

/// Where everything lies that the stage takes: checkpoint, factors, documents, by what they are. Throws InputError when
/// a stage that it builds on is not finished.
[[nodiscard]] std::map<std::string, std::filesystem::path> stage_inputs(const PipelineStage& stage,
                                                                        const PipelineStageRecord& record,
                                                                        const PipelinePlaces& places);
/// SHA-256 of a file, model_digest() of a checkpoint. Throws InputError when there is none.
[[nodiscard]] std::string input_digest(const std::filesystem::path& input);

/// Does the stage, or goes on with it. Throws Error or InputError when it cannot be done.
[[nodiscard]] StageWork do_stage(const PipelineStage& stage, const PipelineStageRecord& record,
                                 const PipelineContext& context);

/// Of a file, or of all files of a folder by name.
[[nodiscard]] std::string output_digest(const std::filesystem::path& output);

}  // namespace longrope

#pragma once

#include <iosfwd>

#include <nlohmann/json.hpp>

#include "coordinator/store/pipeline_store.h"

namespace longrope {

/// A line for each stage: state, time, output.
void write_stage_table(const PipelineRecord& pipeline, std::ostream& out);
/// Everything that the database knows of a stage.
[[nodiscard]] nlohmann::ordered_json stage_json(const PipelineStageRecord& stage);

}  // namespace longrope

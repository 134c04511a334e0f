#pragma once

#include "coordinator/store/pipeline_store.h"

#include <nlohmann/json.hpp>

#include <iosfwd>

namespace longrope {

/// Writes a line for each stage: state, time, output. Text from the database is made printable.
void write_stage_table(const PipelineRecord& pipeline, std::ostream& out);
/// Everything that the database holds about a stage. Throws InputError naming the stage for settings that are not JSON
/// of at most 16 levels.
[[nodiscard]] nlohmann::ordered_json stage_json(const PipelineStageRecord& stage);

}  // namespace longrope

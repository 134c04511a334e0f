#pragma once

#include "common/pipeline_config.h"
#include "common/search_config.h"
#include "common/toml_table.h"

namespace longrope {

// The tables of [[stage]]; they throw as TomlValue does.

/// A stage of kind "search" or "recover".
[[nodiscard]] StageConfig read_search_stage(const TomlValue& table);
/// All stages of a file, of whatever kinds; names differ, and each finds the stages that it builds on before it.
[[nodiscard]] std::vector<PipelineStage> read_pipeline(const TomlValue& stages);

}  // namespace longrope

#pragma once

#include "config/pipeline_config.h"
#include "config/search_config.h"
#include "config/toml_table.h"

namespace longrope {

// The tables of [[stage]]; they throw as TomlValue does.

/// Keys of the kinds "search" and "recover", but for those that all kinds have.
[[nodiscard]] TomlKeys<SearchStage> search_stage_keys();
/// Rules between these keys; `table` is the stage's.
void check_search_stage(const SearchStage& stage, const TomlValue& table);
/// All stages of a file, of whatever kinds; names differ, and each finds the stages that it builds on before it.
[[nodiscard]] std::vector<PipelineStage> read_pipeline(const TomlValue& stages);

}  // namespace longrope

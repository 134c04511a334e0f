#include "cli/stage_table.h"

#include "common/duration.h"
#include "common/error.h"
#include "common/files/strict_json.h"

#include <fmt/format.h>

#include <ostream>

namespace longrope {

void write_stage_table(const PipelineRecord& pipeline, std::ostream& out) {
  out << fmt::format("pipeline {}\n\n{:<16} {:<9} {:<9} {:>9}  {}\n", printable_text(pipeline.name), "stage", "kind",
                     "state", "time", "output");
  for (const PipelineStageRecord& stage : pipeline.stages) {
    out << fmt::format(
        "{:<16} {:<9} {:<9} {:>9}  {}\n", printable_text(stage.name), to_string(stage.kind), to_string(stage.state),
        stage.active_milliseconds == 0 ? "-" : duration_text(static_cast<double>(stage.active_milliseconds) / 1000.0),
        printable_text(stage.detail.empty() ? stage.output.string() : stage.detail));
  }
}

nlohmann::ordered_json stage_json(const PipelineStageRecord& stage) {
  return {{"name", stage.name},
          {"kind", to_string(stage.kind)},
          {"state", to_string(stage.state)},
          {"model", stage.model},
          {"factors", stage.factors},
          {"settings", parse_strict_json(stage.settings, fmt::format("settings of stage {}", stage.name))},
          {"inputs", stage.inputs},
          {"output", stage.output.string()},
          {"output_digest", stage.output_digest},
          {"active_seconds", static_cast<double>(stage.active_milliseconds) / 1000.0},
          {"started_at", stage.started_at},
          {"ended_at", stage.ended_at},
          {"detail", stage.detail}};
}

}  // namespace longrope

#pragma once

#include "report/html_report.h"

#include <nlohmann/json.hpp>

#include <vector>

namespace longrope {

/// Tables and plots (report_plot.h) of a pipeline: its stages with what became of them, when each ran, and the loss of
/// every fine-tuning by step. Empty without stages. Throws InputError for a training log that is none.
[[nodiscard]] std::vector<nlohmann::ordered_json> pipeline_plots(const std::vector<ReportPipelineStage>& stages);

}  // namespace longrope

#pragma once

#include "report/html_report.h"

#include <nlohmann/json.hpp>

namespace longrope {

/// What the page shows: {"title", "stages", "plots"} (stage_answers.h, report_plot.h). Throws as html_report.
[[nodiscard]] nlohmann::ordered_json report_data(const ReportSources& sources);

}  // namespace longrope

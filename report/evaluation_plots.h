#pragma once

#include "evaluation/evaluation_report.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace longrope {

/// Plots (report_plot.h) of one evaluation, in the section `section`: perplexity by length and method, with its
/// interval over documents; perplexity by position, for each length of more than one block; accuracy of pass keys and
/// needles by length and depth, for each method. What was not measured has no plot.
[[nodiscard]] std::vector<nlohmann::ordered_json> evaluation_plots(const EvaluationReport& report,
                                                                   const std::string& section);

}  // namespace longrope

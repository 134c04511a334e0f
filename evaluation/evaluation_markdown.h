#pragma once

#include "evaluation/evaluation_report.h"

#include <string>

namespace longrope {

/// The report for people (docs/evaluation.md): perplexity by length and method, in one pass and in sliding windows; by
/// position for lengths of more than one block; passkey and needle accuracy by length and depth for each method.
/// Perplexities have four digits; evaluation_json.h has all of them.
[[nodiscard]] std::string to_markdown(const EvaluationReport& report);

}  // namespace longrope

#pragma once

#include "evaluation/evaluation_report.h"

#include <string>

namespace longrope {

/// The report as CSV (schemas/evaluation_report.md): a row for each table, method, length, and depth or block of
/// kBlockTokens. Equal reports give equal bytes.
[[nodiscard]] std::string to_csv(const EvaluationReport& report);

}  // namespace longrope

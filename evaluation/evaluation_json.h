#pragma once

#include "evaluation/evaluation_report.h"

#include <filesystem>
#include <string>

namespace longrope {

// A report as JSON, `longrope-evaluation/1` (schemas/evaluation_report.md). What to_json() writes,
// read_evaluation_report() reads back as an equal report, unless a name in it is not UTF-8.

/// Equal reports give equal bytes. Bytes that are not UTF-8 are replaced by U+FFFD.
[[nodiscard]] std::string to_json(const EvaluationReport& report);

/// Treats the file as hostile: size limit 64 MiB, strict JSON, every number in its range, and perplexities and
/// accuracies as their counts give them. Lists other than methods and perplexity may be absent, and are empty then;
/// keys that a report does not know are left alone. Throws InputError naming the rule, the value and the place.
/// Thread-safe.
[[nodiscard]] EvaluationReport read_evaluation_report(const std::filesystem::path& path);

}  // namespace longrope

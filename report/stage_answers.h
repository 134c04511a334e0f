#pragma once

#include "report/search_plots.h"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>

namespace longrope {

/// What the best factors of a stage are compared with, on the same documents; empty what was not measured there.
struct ComparedPerplexities {
  std::optional<double> searched;
  BaselinePerplexities baselines;
};

/// The winner and the closed forms on the held-out documents; before there is a winner, the best candidate so far and
/// the seeds that are closed forms, on the search documents.
[[nodiscard]] ComparedPerplexities compared_perplexities(const StoreReader& reader, const std::string& stage,
                                                         const std::optional<BestFactors>& best);

/// "2.464 at 32,768 tokens: 3.3 % better than YaRN, 25 times better than untouched": the best closed form, then the
/// untouched model where it is another one. `note` follows the length: " on the search documents".
[[nodiscard]] std::string comparison_text(const ComparedPerplexities& perplexities, std::int64_t length,
                                          const std::string& note);

/// An answer for each stage: [{"search", "stage", "length", "final", "text", "cost", "verdict"}]. `text` is the
/// comparison, `cost` "24 passes; 4 min", before there is a winner with the number of candidates, `verdict` that of
/// verdict_json() once there is a winner. The time is no function of the configuration: it alone differs between equal
/// searches.
[[nodiscard]] nlohmann::ordered_json stage_answers(const std::vector<NamedSearch>& searches);

}  // namespace longrope

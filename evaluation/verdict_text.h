#pragma once

#include "evaluation/verdict.h"

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

namespace longrope {

// A verdict in words, the same wherever it is shown. ± is half of the 95 % interval. Sentences have no full stop.

/// "searched is 1.6 % worse than untouched (± 0.4 %): do not export", or "2.464 at 32,768 tokens: 3.3 % better than
/// YaRN (± 0.5 %), 25 times better than untouched".
[[nodiscard]] std::string verdict_headline(const Verdict& verdict);
/// The headline, which documents judged, and what the factors cost at the original length.
[[nodiscard]] std::vector<std::string> verdict_sentences(const Verdict& verdict);
/// The sentences as lines of a console, the first with the stage's name: "stage 4k: 2.464 at …".
[[nodiscard]] std::vector<std::string> verdict_lines(const Verdict& verdict);
/// What a person who exports the winner should know besides: that it is worse than a closed form, or that it looks
/// worse than untouched and documents are too few to tell.
[[nodiscard]] std::vector<std::string> verdict_warnings(const Verdict& verdict);
/// How an export is made of a winner that lost, and what its user is told.
struct LostExport {
  bool forced = false;
  std::string rule;       // "factors must not be worse than the untouched model, unless --force is given"
  std::string forced_by;  // "--force"
  std::string place;      // " (stage 4k, demo.db)"
};
/// Gives verdict_warnings() to `warn`. Throws InputError for a winner that is worse than the untouched model, unless it
/// is forced, which `warn` is then told.
void require_worth_exporting(const Verdict& verdict, const LostExport& lost,
                             const std::function<void(const std::string& warning)>& warn);
/// Judgement, sentences and numbers, for `longrope best --json` and the report.
[[nodiscard]] nlohmann::ordered_json verdict_json(const Verdict& verdict);

}  // namespace longrope

#pragma once

#include "evaluation/verdict.h"

#include <nlohmann/json.hpp>

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
/// Judgement, sentences and numbers, for `longrope best --json` and the report.
[[nodiscard]] nlohmann::ordered_json verdict_json(const Verdict& verdict);

}  // namespace longrope

#include "report/stage_answers.h"

#include "common/size_text.h"
#include "evaluation/perplexity_text.h"
#include "evaluation/verdict_text.h"
#include "report/search_verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kSamePerplexity = 5e-4;  // relative; no digit that is shown differs
constexpr double kTimesFrom = 2.0;        // from here on "3 times better" says more than per cents
constexpr double kTenTimes = 10.0;
constexpr double kSecondsPerMinute = 60.0;
constexpr double kMinutesPerHour = 60.0;

/// "4 min": a duration in one unit.
std::string rounded_duration(double seconds) {
  if (seconds < kSecondsPerMinute) return fmt::format("{:.0f} s", seconds);
  const double minutes = seconds / kSecondsPerMinute;
  if (minutes < kMinutesPerHour) return fmt::format("{:.0f} min", minutes);
  return fmt::format("{:.1f} h", minutes / kMinutesPerHour);
}

std::string times_or_per_cent(double worse, double better) {
  const double times = worse / better;
  if (times >= kTimesFrom) return fmt::format("{:.{}f} times", times, times < kTenTimes ? 1 : 0);
  return fmt::format("{:.1f} %", 100.0 * (worse - better) / worse);
}

std::string compared(double searched, double other, const std::string& name) {
  if (std::abs(searched - other) <= kSamePerplexity * other) return "as good as " + name;
  if (searched < other) return fmt::format("{} better than {}", times_or_per_cent(other, searched), name);
  if (searched / other >= kTimesFrom) return fmt::format("{} worse than {}", times_or_per_cent(searched, other), name);
  return fmt::format("{:.1f} % worse than {}", 100.0 * (searched - other) / other, name);
}

/// The lowest perplexity among the seeds of one closed form, over its attention factors.
std::optional<double> seed_perplexity(const std::vector<HistoryRow>& rows, const std::string& origin) {
  std::optional<double> lowest;
  for (const HistoryRow& row : rows) {
    if (row.origin != "seed:" + origin || !row.perplexity) continue;
    if (!lowest || *row.perplexity < *lowest) lowest = row.perplexity;
  }
  return lowest;
}

}  // namespace

ComparedPerplexities compared_perplexities(const StoreReader& reader, const std::string& stage,
                                           const std::optional<BestFactors>& best) {
  if (best && best->final) return {best->heldout_perplexity, best->baselines};
  const std::vector<HistoryRow> rows = reader.history(stage);
  return {best ? best->search_perplexity : std::nullopt,
          {.none = seed_perplexity(rows, "none"),
           .pi = seed_perplexity(rows, "pi"),
           .ntk = seed_perplexity(rows, "ntk"),
           .yarn = seed_perplexity(rows, "yarn")}};
}

std::string comparison_text(const ComparedPerplexities& perplexities, std::int64_t length, const std::string& note) {
  if (!perplexities.searched) return fmt::format("nothing measured at {} tokens yet", grouped_digits(length));
  const double searched = *perplexities.searched;
  const BaselinePerplexities& baselines = perplexities.baselines;
  std::string text = fmt::format("{} at {} tokens{}", perplexity_text(searched), grouped_digits(length), note);
  const std::array<std::pair<const char*, std::optional<double>>, 3> forms = {
      {{"YaRN", baselines.yarn}, {"NTK", baselines.ntk}, {"PI", baselines.pi}}};
  const std::pair<const char*, std::optional<double>>* best = nullptr;
  for (const auto& form : forms) {
    if (form.second && (best == nullptr || *form.second < *best->second)) best = &form;
  }
  // Where the model already reaches the length, all closed forms are the untouched model.
  const bool forms_differ = best != nullptr && best->second != baselines.none;
  if (forms_differ) text += ": " + compared(searched, *best->second, best->first);
  if (baselines.none) text += (forms_differ ? ", " : ": ") + compared(searched, *baselines.none, "untouched");
  return text;
}

Json stage_answers(const std::vector<NamedSearch>& searches) {
  Json answers = Json::array();
  for (const NamedSearch& search : searches) {
    const std::vector<Verdict> verdicts = search_verdicts(*search.reader);
    for (const StageProgress& stage : search.reader->progress()) {
      const std::optional<BestFactors> best = search.reader->best(stage.name);
      const bool chosen = best && best->final;
      std::string text = comparison_text(compared_perplexities(*search.reader, stage.name, best), stage.target_length,
                                         chosen ? "" : " on the search documents so far");
      std::string cost = fmt::format("{} passes; {}", grouped_digits(std::llround(stage.document_passes)),
                                     rounded_duration(stage.active_seconds));
      if (!chosen) cost = fmt::format("{} of at most {} candidates; {}", stage.told, stage.budget, cost);
      answers.push_back({{"search", search.name},
                         {"stage", stage.name},
                         {"length", stage.target_length},
                         {"final", chosen},
                         {"text", std::move(text)},
                         {"cost", std::move(cost)}});
      const auto verdict = std::ranges::find(verdicts, stage.name, &Verdict::stage);
      if (verdict != verdicts.end()) answers.back()["verdict"] = verdict_json(*verdict);
    }
  }
  return answers;
}

}  // namespace longrope

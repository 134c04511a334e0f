#include "evaluation/verdict_text.h"

#include "common/error.h"
#include "common/size_text.h"
#include "evaluation/perplexity_text.h"

#include <fmt/format.h>

#include <cmath>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kPerCent = 100.0;

std::string per_cent_text(double share) {
  const double per_cent = kPerCent * share;
  if (per_cent < 0.01) return "less than 0.01 %";
  if (per_cent > 1000.0) return "more than 1,000 %";
  return per_cent < 10.0 ? fmt::format("{:.2g} %", per_cent) : fmt::format("{:.0f} %", per_cent);
}

bool in_per_cent(const Comparison& comparison) { return std::abs(comparison.difference.mean) < std::log(2.0); }

/// "3.3 % better", "25 times worse"
std::string change_text(const Comparison& comparison) {
  const double difference = comparison.difference.mean;
  const char* const direction = difference < 0.0 ? "better" : "worse";
  if (in_per_cent(comparison)) return per_cent_text(std::abs(comparison.relative_change())) + " " + direction;
  const double times = std::exp(std::abs(difference));
  return fmt::format("{} times {}", times < 10.0 ? fmt::format("{:.2g}", times) : fmt::format("{:.0f}", times),
                     direction);
}

/// Half of the 95 % interval of the relative change.
double half_width(const Comparison& comparison) {
  return std::exp(comparison.difference.mean) * std::sinh(*comparison.difference.half_width);
}

/// "3.3 % better than YaRN (± 0.5 %)"; `than` is empty, or begins with a space.
std::string compared(const Comparison& comparison, const std::string& than, const std::string& from) {
  if (comparison.difference.mean == 0.0) return "no different" + from;
  const bool interval = comparison.difference.half_width.has_value();
  const std::string width = interval ? "± " + per_cent_text(half_width(comparison)) : "";
  if (comparison.judgement == Judgement::kCannotTell) {
    return fmt::format("not to be told apart{} ({}, {})", from, change_text(comparison), width);
  }
  const std::string text = change_text(comparison) + than;
  return interval && in_per_cent(comparison) ? fmt::format("{} ({})", text, width) : text;
}

std::string compared(const Comparison& comparison) {
  const std::string title = method_title(comparison.origin);
  return compared(comparison, " than " + title, " from " + title);
}

std::string judges_sentence(const Verdict& verdict) {
  const auto counted = [&](const char* kind) {
    return fmt::format("{} {} document{}", verdict.documents, kind, verdict.documents == 1 ? "" : "s");
  };
  const char* const interval = verdict.documents == 1 ? "; one document: no interval" : "";
  if (verdict.final_documents) return fmt::format("judged by {}, which chose nothing{}", counted("final"), interval);
  if (verdict.finalists <= 1) {
    return fmt::format("judged by {}, which chose nothing: there was one finalist{}", counted("held-out"), interval);
  }
  return fmt::format("chosen and judged by the same {}, which flatters it (final_documents judge by others){}",
                     counted("held-out"), interval);
}

std::string original_length_sentence(const Verdict& verdict) {
  const Comparison& comparison = *verdict.at_original_length;
  std::string text = fmt::format("at the original length of {} tokens the exported model is {}",
                                 grouped_digits(verdict.original_length), compared(comparison, "", " from untouched"));
  if (comparison.difference.mean != 0.0 && verdict.attention_factor != 1.0) {
    text += fmt::format(": attention factor {:.3g} applies there too", verdict.attention_factor);
  }
  return text;
}

Json to_json(const Comparison& comparison) {
  const MeanNll& difference = comparison.difference;
  const auto change = [&](double offset) { return std::expm1(difference.mean + offset); };
  Json json = {{"method", comparison.origin},         {"title", method_title(comparison.origin)},
               {"perplexity", comparison.perplexity}, {"judgement", to_string(comparison.judgement)},
               {"nll_difference", difference.mean},   {"relative_change", comparison.relative_change()},
               {"relative_change_interval", nullptr}};
  if (difference.half_width) {
    json["relative_change_interval"] = {change(-*difference.half_width), change(*difference.half_width)};
  }
  return json;
}

}  // namespace

std::string verdict_headline(const Verdict& verdict) {
  if (!verdict.perplexity) return "searched could not be scored on the documents that judge it: do not export";
  if (verdict.judgement() == Judgement::kWorse) {
    return fmt::format("searched is {}: do not export", compared(*verdict.untouched()));
  }
  std::string text =
      fmt::format("{} at {} tokens: ", perplexity_text(*verdict.perplexity), grouped_digits(verdict.target_length));
  if (const Comparison* const closed_form = verdict.best_closed_form()) text += compared(*closed_form) + ", ";
  const Comparison* const against = verdict.untouched();
  return text + (against == nullptr ? "untouched was not scored" : compared(*against));
}

std::vector<std::string> verdict_sentences(const Verdict& verdict) {
  std::vector<std::string> sentences = {verdict_headline(verdict)};
  if (!verdict.perplexity) return sentences;
  if (const Comparison* const closed_form = verdict.best_closed_form();
      closed_form != nullptr && verdict.judgement() == Judgement::kWorse) {
    sentences.push_back(fmt::format("{} at {} tokens: {}", perplexity_text(*verdict.perplexity),
                                    grouped_digits(verdict.target_length), compared(*closed_form)));
  }
  sentences.push_back(judges_sentence(verdict));
  if (verdict.at_original_length) {
    sentences.push_back(original_length_sentence(verdict));
  } else if (verdict.keeps_attention_factor) {
    sentences.push_back("at the original length nothing changes: the attention factor is the checkpoint's own");
  }
  return sentences;
}

std::vector<std::string> verdict_lines(const Verdict& verdict) {
  std::vector<std::string> lines = verdict_sentences(verdict);
  lines.front() = fmt::format("stage {}: {}", verdict.stage, lines.front());
  for (auto line = lines.begin() + 1; line != lines.end(); ++line) line->insert(0, "  ");
  return lines;
}

std::vector<std::string> verdict_warnings(const Verdict& verdict) {
  std::vector<std::string> warnings;
  const Comparison* const against = verdict.untouched();
  if (against != nullptr && against->judgement == Judgement::kCannotTell && against->difference.mean > 0.0) {
    warnings.push_back("the winner is " + compared(*against));
  }
  const Comparison* lost_to = nullptr;  // the best closed form among those that it lost to
  for (const Comparison& comparison : verdict.comparisons) {
    if (comparison.origin == "none" || comparison.judgement != Judgement::kWorse) continue;
    if (lost_to == nullptr || comparison.perplexity < lost_to->perplexity) lost_to = &comparison;
  }
  if (lost_to != nullptr) {
    warnings.push_back(fmt::format("the winner is {}, a closed form that needs no search", compared(*lost_to)));
  }
  return warnings;
}

void require_worth_exporting(const Verdict& verdict, const LostExport& lost,
                             const std::function<void(const std::string& warning)>& warn) {
  for (const std::string& warning : verdict_warnings(verdict)) warn(warning);
  if (verdict.judgement() != Judgement::kWorse) return;
  const std::string headline = verdict_headline(verdict);
  if (!lost.forced) throw InputError(fmt::format("{}: {}{}", lost.rule, headline, lost.place));
  warn(fmt::format("{}; exporting it all the same ({})", headline, lost.forced_by));
}

Json verdict_json(const Verdict& verdict) {
  Json json = {{"judgement", to_string(verdict.judgement())},
               {"text", verdict_sentences(verdict)},
               {"target_length", verdict.target_length},
               {"perplexity", verdict.perplexity ? Json(*verdict.perplexity) : Json()},
               {"documents", verdict.documents},
               {"final_documents", verdict.final_documents},
               {"finalists", verdict.finalists}};
  const Comparison* const closed_form = verdict.best_closed_form();
  json["best_closed_form"] = closed_form == nullptr ? Json() : Json(closed_form->origin);
  json["comparisons"] = Json::array();
  for (const Comparison& comparison : verdict.comparisons) json["comparisons"].push_back(to_json(comparison));
  json["original_length"] = nullptr;
  if (verdict.at_original_length) {
    json["original_length"] = to_json(*verdict.at_original_length);
    json["original_length"]["length"] = verdict.original_length;
  }
  return json;
}

}  // namespace longrope

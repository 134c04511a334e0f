#include "evaluation/engines/engine_verdict.h"

#include "common/size_text.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <stdexcept>

namespace longrope {
namespace {

std::string sentence(const EngineComparison& comparison) {
  const double tolerance = comparison.tolerance;
  switch (judge(comparison)) {
    case EngineVerdict::kApplies:
      return fmt::format("The engine applies the factors: its NLL is within {:g} of ours with them.", tolerance);
    case EngineVerdict::kIgnores:
      return fmt::format("The engine ignores the factors: its NLL is within {:g} of ours without them.", tolerance);
    case EngineVerdict::kNeither:
      return fmt::format(
          "The engine does neither: its NLL is not within {:g} of ours with the factors, nor of ours without. It may "
          "apply another table, attention factor or base, or have coarser weights than this tolerance covers.",
          tolerance);
    case EngineVerdict::kCannotTell:
      return fmt::format(
          "This document cannot tell: our own NLLs must differ by more than {:g}, twice the tolerance. Take more "
          "tokens than the model reaches without the factors, or a smaller tolerance.",
          2 * tolerance);
  }
  throw std::logic_error("a verdict without a sentence");
}

}  // namespace

std::string_view to_string(EngineVerdict verdict) {
  switch (verdict) {
    case EngineVerdict::kApplies:
      return "applies";
    case EngineVerdict::kIgnores:
      return "ignores";
    case EngineVerdict::kNeither:
      return "neither";
    case EngineVerdict::kCannotTell:
      return "cannot tell";
  }
  throw std::logic_error("a verdict without a name");
}

EngineVerdict judge(const EngineComparison& comparison) {
  const double tolerance = comparison.tolerance;
  // Negated, so that a number that is none tells nothing.
  if (!(std::abs(comparison.with_factors - comparison.without_factors) > 2 * tolerance)) {
    return EngineVerdict::kCannotTell;
  }
  if (std::abs(comparison.engine - comparison.with_factors) <= tolerance) return EngineVerdict::kApplies;
  if (std::abs(comparison.engine - comparison.without_factors) <= tolerance) return EngineVerdict::kIgnores;
  return EngineVerdict::kNeither;
}

std::string verdict_text(const EngineComparison& comparison) {
  return fmt::format(
      "{} of the first {} tokens of {}, asked by {}\n"
      "NLL per token: engine {:.4f}, ours {:.4f} with the factors, {:.4f} without\n{}\n",
      grouped_digits(comparison.scored_tokens), grouped_digits(comparison.length), comparison.document, comparison.api,
      comparison.engine, comparison.with_factors, comparison.without_factors, sentence(comparison));
}

nlohmann::ordered_json verdict_json(const EngineComparison& comparison) {
  return {{"verdict", to_string(judge(comparison))},
          {"engine_nll", comparison.engine},
          {"nll_with_factors", comparison.with_factors},
          {"nll_without_factors", comparison.without_factors},
          {"tolerance", comparison.tolerance},
          {"scored_tokens", comparison.scored_tokens},
          {"length", comparison.length},
          {"document", comparison.document},
          {"api", comparison.api}};
}

}  // namespace longrope

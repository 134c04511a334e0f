#include "evaluation/verdict.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>

namespace longrope {
namespace {

constexpr const char* kWinner = "winner";
constexpr const char* kUntouched = "none";

Judgement judgement_of(const MeanNll& difference) {
  if (std::abs(difference.mean) <= difference.half_width.value_or(0.0)) return Judgement::kCannotTell;
  return difference.mean < 0.0 ? Judgement::kBetter : Judgement::kWorse;
}

Comparison compare(const JudgedScores& winner, const JudgedScores& method) {
  const auto same_tokens = [](const DocumentNll& one, const DocumentNll& other) {
    return one.scored_tokens == other.scored_tokens;
  };
  if (!std::ranges::equal(winner.documents, method.documents, same_tokens)) {
    throw Error(fmt::format("the winner and {} were not scored on the same tokens", method_title(method.origin)));
  }
  std::vector<DocumentNll> differences = winner.documents;
  for (std::size_t document = 0; document < differences.size(); ++document) {
    differences[document].nll_sum -= method.documents[document].nll_sum;
  }
  Comparison comparison;
  comparison.origin = method.origin;
  comparison.perplexity = std::exp(mean_nll(method.documents).mean);
  comparison.difference = mean_nll(differences);
  comparison.judgement = judgement_of(comparison.difference);
  return comparison;
}

const JudgedScores& winner_of(const std::vector<JudgedScores>& scores) {
  const auto winner = std::ranges::find(scores, kWinner, &JudgedScores::origin);
  if (winner == scores.end() || winner->documents.empty()) throw Error("no document judges the winner");
  return *winner;
}

}  // namespace

std::string_view to_string(Judgement judgement) {
  switch (judgement) {
    case Judgement::kBetter:
      return "better";
    case Judgement::kWorse:
      return "worse";
    case Judgement::kCannotTell:
      return "cannot tell";
  }
  throw Error(fmt::format("unknown judgement: {}", static_cast<int>(judgement)));
}

std::string method_title(const std::string& origin) {
  constexpr std::string_view kWithoutM = "-m1";
  static const std::map<std::string, std::string> kTitles = {
      {kUntouched, "untouched"}, {"pi", "PI"}, {"ntk", "NTK"}, {"yarn", "YaRN"}};
  if (origin.ends_with(kWithoutM)) {
    return method_title(origin.substr(0, origin.size() - kWithoutM.size())) + " with m = 1";
  }
  const auto found = kTitles.find(origin);
  return found == kTitles.end() ? origin : found->second;
}

double Comparison::relative_change() const { return std::expm1(difference.mean); }

const Comparison* Verdict::untouched() const {
  const auto found = std::ranges::find(comparisons, kUntouched, &Comparison::origin);
  return found == comparisons.end() ? nullptr : &*found;
}

const Comparison* Verdict::best_closed_form() const {
  const Comparison* best = nullptr;
  for (const Comparison& comparison : comparisons) {
    if (comparison.origin == kUntouched) continue;
    if (best == nullptr || comparison.perplexity < best->perplexity) best = &comparison;
  }
  return best;
}

Judgement Verdict::judgement() const {
  if (!perplexity) return Judgement::kWorse;
  const Comparison* const against = untouched();
  return against == nullptr ? Judgement::kCannotTell : against->judgement;
}

Verdict judge(const WinnerScores& scores) {
  Verdict verdict;
  verdict.stage = scores.stage;
  verdict.target_length = scores.target_length;
  verdict.attention_factor = scores.attention_factor;
  verdict.final_documents = scores.final_documents;
  verdict.finalists = scores.finalists;
  verdict.original_length = scores.original_length;
  verdict.keeps_attention_factor = scores.keeps_attention_factor;
  if (scores.scores.empty()) return verdict;
  const JudgedScores& winner = winner_of(scores.scores);
  verdict.documents = static_cast<std::int64_t>(winner.documents.size());
  verdict.perplexity = std::exp(mean_nll(winner.documents).mean);
  for (const JudgedScores& method : scores.scores) {
    if (method.origin != kWinner) verdict.comparisons.push_back(compare(winner, method));
  }
  const auto untouched = std::ranges::find(scores.at_original_length, kUntouched, &JudgedScores::origin);
  if (scores.original_length > 0 && untouched != scores.at_original_length.end()) {
    verdict.at_original_length = compare(winner_of(scores.at_original_length), *untouched);
  }
  return verdict;
}

}  // namespace longrope

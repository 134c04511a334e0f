#include "report/search_verdict.h"

#include <cstddef>
#include <utility>

namespace longrope {
namespace {

std::vector<JudgedScores> scores_of(const std::vector<JudgedMethod>& methods) {
  std::vector<JudgedScores> scores;
  for (const JudgedMethod& method : methods) {
    JudgedScores& score = scores.emplace_back(JudgedScores{method.origin, {}});
    for (std::size_t document = 0; document < method.nll_sum.size(); ++document) {
      score.documents.push_back({method.nll_sum[document], method.scored_tokens.at(document)});
    }
  }
  return scores;
}

}  // namespace

std::vector<Verdict> search_verdicts(const StoreReader& reader) {
  std::vector<Verdict> verdicts;
  for (const JudgedStage& judged : reader.judged_stages()) {
    WinnerScores scores;
    scores.stage = judged.stage;
    scores.target_length = judged.target_length;
    if (const auto best = reader.best(judged.stage)) scores.attention_factor = best->factors.attention.value;
    scores.final_documents = judged.final_documents;
    scores.finalists = judged.finalists;
    scores.scores = scores_of(judged.methods);
    scores.original_length = judged.original_length;
    scores.at_original_length = scores_of(judged.at_original_length);
    scores.keeps_attention_factor = judged.keeps_attention_factor;
    verdicts.push_back(judge(scores));
  }
  return verdicts;
}

std::optional<Verdict> search_verdict(const StoreReader& reader, std::optional<std::string_view> stage) {
  std::optional<Verdict> found;
  for (Verdict& verdict : search_verdicts(reader)) {
    if (!stage || verdict.stage == *stage) found = std::move(verdict);
  }
  return found;
}

}  // namespace longrope

#include "evaluation/evaluation_csv.h"

#include "common/files/csv_field.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace longrope {
namespace {

/// Columns that perplexities of whole documents and of blocks share.
std::string perplexity_row(const PerplexityResult& result, const ScoredBlock& sums, std::string_view table,
                           std::string_view tokens, std::string_view ppl_yarn) {
  return fmt::format("{},{},{},,{},{},{},{},{},{},{},,,,,\n", table, csv_field(result.method), result.length, tokens,
                     result.sliding ? fmt::format("{},{}", result.sliding->window, result.sliding->stride) : ",",
                     result.attention_factor, sums.nll_sum, sums.scored_tokens,
                     sums.scored_tokens == 0 ? "" : fmt::format("{}", perplexity(sums.nll_sum, sums.scored_tokens)),
                     ppl_yarn);
}

}  // namespace

std::string to_csv(const EvaluationReport& report) {
  std::string csv =
      "table,method,length,depth,from_token,to_token,window,stride,attention_factor,nll_sum,scored_tokens,perplexity,"
      "ppl_yarn,right,answers,accuracy,interval_low,interval_high\n";
  for (const PerplexityResult& result : report.perplexity) {
    const std::string table = result.sliding ? "sliding" : "perplexity";
    csv += perplexity_row(result, {result.nll_sum, result.scored_tokens}, table, ",",
                          result.sliding ? fmt::format("{}", result.sliding->ppl_yarn) : "");
    std::int64_t begin = 0;
    for (const ScoredBlock& block : result.blocks) {
      const std::int64_t end = std::min(begin + kBlockTokens, result.length);
      csv += perplexity_row(result, block, table + "_by_position", fmt::format("{},{}", begin, end), "");
      begin = end;
    }
  }
  for (const RetrievalResult& result : report.retrieval) {
    csv += fmt::format("{},{},{},{},,,,,,,,,,{},{},{},{},{}\n", to_string(result.kind), csv_field(result.method),
                       result.length, result.depth, result.right, result.answers, result.accuracy(),
                       result.interval.low, result.interval.high);
  }
  return csv;
}

}  // namespace longrope

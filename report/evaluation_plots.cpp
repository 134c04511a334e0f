#include "report/evaluation_plots.h"

#include "report/best_marks.h"
#include "report/nll_interval.h"
#include "report/report_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

/// The name of a line in the plot by length. Sliding windows measure something else than one pass: a line of their own.
std::string series_name(const PerplexityResult& row) {
  if (!row.sliding) return row.method;
  return fmt::format("{}, window {} by {}", row.method, row.sliding->window, row.sliding->stride);
}

Json by_length(const EvaluationReport& report, const std::string& section) {
  Json table = report_table({{"series", "method", "text"},
                             {"length", "length", "integer"},
                             {"perplexity", "perplexity", "perplexity"},
                             {"low", "95 % from", "perplexity"},
                             {"high", "95 % to", "perplexity"},
                             {"attention", "attention factor", "number"},
                             {"documents", "documents", "integer"},
                             {"tokens", "scored tokens", "integer"}});
  for (const PerplexityResult& row : report.perplexity) {
    std::vector<DocumentNll> documents;
    for (const EvaluatedDocument& document : row.documents) {
      // A mask may count nothing in a document's first tokens.
      if (document.scored_tokens > 0) documents.push_back({document.nll_sum, document.scored_tokens});
    }
    const std::optional<PerplexityInterval> interval = perplexity_interval(documents);
    table["rows"].push_back({series_name(row), row.length, row.perplexity(), interval ? Json(interval->low) : Json(),
                             interval ? Json(interval->high) : Json(), row.attention_factor, row.documents.size(),
                             row.scored_tokens});
  }
  mark_best_in_groups(table, "perplexity", {"length"}, BetterIs::kLower);
  const std::int64_t first_length = report.perplexity.front().length;
  const bool one_length = std::ranges::all_of(
      report.perplexity, [first_length](const PerplexityResult& row) { return row.length == first_length; });
  // A plot over one length is a column of points: the table alone says more.
  return report_plot({one_length ? "table" : "by_length", section,
                      one_length ? fmt::format("Perplexity at {} tokens", first_length) : "Perplexity by length",
                      fmt::format("{} ({} documents), {}, {} angles; trained at {} tokens. {}: 95 % interval of the "
                                  "mean NLL over documents like these (Student's t). ★ marks the best at each length.",
                                  report.documents.file, report.documents.count, report.dtype, report.angles,
                                  report.model.original_length, one_length ? "From, to" : "Bars")},
                     std::move(table));
}

std::optional<Json> by_position(const EvaluationReport& report, const std::string& section, std::int64_t length) {
  Json table = report_table({{"series", "method", "text"},
                             {"from", "from token", "integer"},
                             {"to", "to token", "integer"},
                             {"perplexity", "perplexity", "perplexity"},
                             {"tokens", "scored tokens", "integer"}});
  std::size_t most_blocks = 0;
  for (const PerplexityResult& row : report.perplexity) {
    if (row.length != length) continue;
    most_blocks = std::max(most_blocks, row.blocks.size());
    std::int64_t from = 0;
    for (const ScoredBlock& block : row.blocks) {
      const std::int64_t to = std::min(from + kBlockTokens, length);
      if (block.scored_tokens > 0) {
        table["rows"].push_back(
            {series_name(row), from, to, perplexity(block.nll_sum, block.scored_tokens), block.scored_tokens});
      }
      from = to;
    }
  }
  if (most_blocks < 2) return std::nullopt;
  return report_plot(
      {"by_position", section, fmt::format("Perplexity by position, {} tokens", length),
       fmt::format("Perplexity of the tokens in each block of {} positions, over all documents.", kBlockTokens)},
      std::move(table));
}

/// One grid for all methods: they are compared where they stand side by side.
Json retrieval(const EvaluationReport& report, const std::string& section, RetrievalKind kind) {
  Json table = report_table({{"method", "method", "text"},
                             {"length", "length", "integer"},
                             {"depth", "depth", "share"},
                             {"right", "right", "integer"},
                             {"answers", "of", "integer"},
                             {"accuracy", "accuracy", "share"},
                             {"low", "95 % from", "share"},
                             {"high", "95 % to", "share"}});
  for (const RetrievalResult& row : report.retrieval) {
    if (row.kind != kind) continue;
    table["rows"].push_back({row.method, row.length, row.depth, row.right, row.answers, row.accuracy(),
                             row.interval.low, row.interval.high});
  }
  mark_best_in_groups(table, "accuracy", {"length", "depth"}, BetterIs::kHigher);
  return report_plot(
      {"retrieval", section, kind == RetrievalKind::kPasskey ? "Passkey accuracy" : "Needle accuracy",
       "Share of hidden answers that were predicted exactly, for each method, length of the text and depth at which "
       "they are hidden (0 % is the beginning). ★ marks the best of a row, unless all are equal."},
      std::move(table));
}

}  // namespace

std::vector<Json> evaluation_plots(const EvaluationReport& report, const std::string& section) {
  std::vector<Json> plots;
  if (!report.perplexity.empty()) plots.push_back(by_length(report, section));
  std::set<std::int64_t> lengths;
  for (const PerplexityResult& row : report.perplexity) lengths.insert(row.length);
  for (const std::int64_t length : lengths) {
    if (std::optional<Json> plot = by_position(report, section, length)) plots.push_back(std::move(*plot));
  }
  for (const RetrievalKind kind : {RetrievalKind::kPasskey, RetrievalKind::kNeedle}) {
    if (std::ranges::find(report.retrieval, kind, &RetrievalResult::kind) != report.retrieval.end()) {
      plots.push_back(retrieval(report, section, kind));
    }
  }
  return plots;
}

}  // namespace longrope

#include "cli/best_table.h"

#include "common/error.h"
#include "evaluation/verdict_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

struct TableRow {
  std::string method;
  std::optional<double> perplexity;
};

std::string rounded(const std::optional<double>& value) { return value ? fmt::format("{:.5f}", *value) : "-"; }

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

std::vector<TableRow> table_rows(const BestFactors& best, const std::optional<Verdict>& verdict) {
  if (!verdict) {
    return {{"untouched", best.baselines.none},
            {"PI", best.baselines.pi},
            {"NTK", best.baselines.ntk},
            {"YaRN", best.baselines.yarn},
            {"searched", best.heldout_perplexity}};
  }
  std::vector<TableRow> rows;
  for (const char* const origin : {"none", "pi", "ntk", "yarn"}) rows.push_back({method_title(origin), {}});
  for (const Comparison& comparison : verdict->comparisons) {
    const std::string title = method_title(comparison.origin);
    const auto row = std::ranges::find(rows, title, &TableRow::method);
    if (row == rows.end()) {
      rows.push_back({title, comparison.perplexity});
    } else {
      row->perplexity = comparison.perplexity;
    }
  }
  rows.push_back({"searched", verdict->perplexity});
  return rows;
}

std::string judges(const BestFactors& best, const std::optional<Verdict>& verdict) {
  const bool final_documents = verdict && verdict->final_documents;
  return fmt::format("{} perplexity at {} tokens, {} documents", final_documents ? "final" : "held-out",
                     best.target_length, verdict ? verdict->documents : best.heldout_documents);
}

}  // namespace

void write_best(const BestFactors& best, const std::optional<Verdict>& verdict, std::ostream& out) {
  out << fmt::format("stage {}: candidate {} ({}){}\n", printable_text(best.stage), best.index,
                     printable_text(best.origin), best.final ? "" : ", best so far: the stage has not chosen yet");
  out << fmt::format("attention factor {} ({}), n_hat {}, search perplexity {}\n", best.factors.attention.value,
                     to_string(best.factors.attention.policy), best.factors.n_hat, rounded(best.search_perplexity));
  out << fmt::format("lambda {}\n", fmt::join(best.factors.lambda, " "));
  if (!best.final) return;
  const std::vector<TableRow> rows = table_rows(best, verdict);
  std::optional<double> lowest;
  for (const TableRow& row : rows) {
    if (row.perplexity) lowest = std::min(lowest.value_or(*row.perplexity), *row.perplexity);
  }
  out << "\n" << judges(best, verdict) << " (* the best)\n";
  for (const TableRow& row : rows) {
    out << fmt::format("  {:<16} {:>12}{}\n", printable_text(row.method), rounded(row.perplexity),
                       row.perplexity && row.perplexity == lowest ? " *" : "");
  }
  if (!verdict) return;
  out << '\n';
  for (const std::string& sentence : verdict_sentences(*verdict)) out << printable_text(sentence) << '\n';
}

Json best_json(const BestFactors& best, const std::optional<Verdict>& verdict) {
  return {{"stage", best.stage},
          {"target_length", best.target_length},
          {"final", best.final},
          {"candidate", best.index},
          {"origin", best.origin},
          {"lambda", best.factors.lambda},
          {"n_hat", best.factors.n_hat},
          {"attention_policy", to_string(best.factors.attention.policy)},
          {"attention_factor", best.factors.attention.value},
          {"factors_digest", best.factors_digest},
          {"search_perplexity", or_null(best.search_perplexity)},
          {"heldout_perplexity", or_null(best.heldout_perplexity)},
          {"heldout_documents", best.heldout_documents},
          {"heldout_perplexity_untouched", or_null(best.baselines.none)},
          {"heldout_perplexity_pi", or_null(best.baselines.pi)},
          {"heldout_perplexity_ntk", or_null(best.baselines.ntk)},
          {"heldout_perplexity_yarn", or_null(best.baselines.yarn)},
          {"verdict", verdict ? verdict_json(*verdict) : Json()}};
}

}  // namespace longrope

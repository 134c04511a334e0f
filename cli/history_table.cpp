#include "cli/history_table.h"

#include "common/error.h"
#include "common/files/csv_field.h"
#include "coordinator/store/column_text.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <ostream>

namespace longrope {
namespace {

std::string number(const std::optional<double>& value) { return value ? fmt::format("{}", *value) : ""; }
std::string number(const std::optional<std::int64_t>& value) { return value ? std::to_string(*value) : ""; }

std::string joined(const std::vector<std::int64_t>& parents) { return fmt::format("{}", fmt::join(parents, " ")); }

/// Origins, states and digests hold neither comma nor quote; a stage's name and λ may.
void write_csv(const std::vector<HistoryRow>& rows, bool timing, std::ostream& out) {
  out << "stage,candidate,origin,parents,state,n_hat,attention_policy,attention_factor,factors_digest,kind,documents,"
         "document_passes,nll_sum,scored_tokens,perplexity,best_so_far,heldout_perplexity,lambda"
      << (timing ? ",seconds,workers,told_at\n" : "\n");
  for (const HistoryRow& row : rows) {
    out << fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}", csv_field(row.stage), row.index,
                       row.origin, joined(row.parents), row.state, row.n_hat, row.attention_policy, row.attention_value,
                       row.factors_digest, row.kind, number(row.documents), number(row.document_passes),
                       number(row.nll_sum), number(row.scored_tokens), number(row.perplexity), number(row.best_so_far),
                       number(row.heldout_perplexity), csv_field(row.lambda));
    if (timing) out << fmt::format(",{},{},{}", row.seconds, row.workers, row.told_at);
    out << '\n';
  }
}

void write_json(const std::vector<HistoryRow>& rows, bool timing, std::ostream& out) {
  const auto or_null = [](const auto& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
  };
  nlohmann::ordered_json table = nlohmann::ordered_json::array();
  for (const HistoryRow& row : rows) {
    nlohmann::ordered_json entry = {{"stage", row.stage},
                                    {"candidate", row.index},
                                    {"origin", row.origin},
                                    {"parents", row.parents},
                                    {"state", row.state},
                                    {"n_hat", row.n_hat},
                                    {"attention_policy", row.attention_policy},
                                    {"attention_factor", row.attention_value},
                                    {"factors_digest", row.factors_digest},
                                    {"kind", row.kind},
                                    {"documents", or_null(row.documents)},
                                    {"document_passes", or_null(row.document_passes)},
                                    {"nll_sum", or_null(row.nll_sum)},
                                    {"scored_tokens", or_null(row.scored_tokens)},
                                    {"perplexity", or_null(row.perplexity)},
                                    {"best_so_far", or_null(row.best_so_far)},
                                    {"heldout_perplexity", or_null(row.heldout_perplexity)},
                                    {"lambda", doubles_from_json(row.lambda)}};
    if (timing) {
      entry["seconds"] = row.seconds;
      entry["workers"] = row.workers;
      entry["told_at"] = row.told_at;
    }
    table.push_back(std::move(entry));
  }
  out << table.dump(1) << '\n';
}

/// The lowest value of one column, by stage.
std::map<std::string, double> lowest_by_stage(const std::vector<HistoryRow>& rows,
                                              std::optional<double> HistoryRow::* column) {
  std::map<std::string, double> lowest;
  for (const HistoryRow& row : rows) {
    if (!(row.*column)) continue;
    const auto [best, first] = lowest.emplace(row.stage, *(row.*column));
    if (!first) best->second = std::min(best->second, *(row.*column));
  }
  return lowest;
}

void write_table(const std::vector<HistoryRow>& rows, bool timing, std::ostream& out) {
  const std::map<std::string, double> lowest = lowest_by_stage(rows, &HistoryRow::perplexity);
  const std::map<std::string, double> lowest_heldout = lowest_by_stage(rows, &HistoryRow::heldout_perplexity);
  const auto mark = [](const std::map<std::string, double>& best, const HistoryRow& row,
                       const std::optional<double>& value) {
    return value && *value == best.at(row.stage) ? '*' : ' ';
  };
  out << fmt::format("{:<10} {:>9} {:<22} {:>9} {:<6} {:>5} {:>7} {:>12}  {:>12} {:>12} ", "stage", "candidate",
                     "origin", "parents", "policy", "n_hat", "passes", "perplexity", "best so far", "held-out");
  out << (timing ? fmt::format(" {:>9}\n", "seconds") : std::string("\n"));
  const auto rounded = [](const std::optional<double>& value) { return value ? fmt::format("{:.5f}", *value) : "-"; };
  for (const HistoryRow& row : rows) {
    out << fmt::format("{:<10} {:>9} {:<22} {:>9} {:<6} {:>5} {:>7} {:>12}{} {:>12} {:>12}{}",
                       printable_text(row.stage), row.index, printable_text(row.origin), joined(row.parents),
                       printable_text(row.attention_policy), row.n_hat, number(row.document_passes),
                       row.state == "told" ? rounded(row.perplexity) : printable_text(row.state),
                       mark(lowest, row, row.perplexity), rounded(row.best_so_far), rounded(row.heldout_perplexity),
                       mark(lowest_heldout, row, row.heldout_perplexity));
    if (timing) out << fmt::format(" {:>9.2f}", row.seconds);
    out << '\n';
  }
  if (!rows.empty()) out << "* the lowest of its column in the stage\n";
}

}  // namespace

void write_history(const std::vector<HistoryRow>& rows, HistoryFormat format, bool timing, std::ostream& out) {
  switch (format) {
    case HistoryFormat::kTable:
      return write_table(rows, timing, out);
    case HistoryFormat::kCsv:
      return write_csv(rows, timing, out);
    case HistoryFormat::kJson:
      return write_json(rows, timing, out);
  }
}

}  // namespace longrope

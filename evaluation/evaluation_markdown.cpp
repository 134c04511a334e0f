#include "evaluation/evaluation_markdown.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

namespace longrope {
namespace {

/// `text` without what would end a table cell: bars are escaped, line breaks become spaces.
std::string cell(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '|') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result;
}

std::string row(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& content : cells) text += " " + cell(content) + " |";
  return text + "\n";
}

std::string heading(std::vector<std::string> columns) {
  std::string text = "\n" + row(columns);
  std::ranges::fill(columns, "---");
  return text + row(columns);
}

std::string perplexity_text(double value) {
  constexpr double kFourDigits = 1000.0;
  return value < kFourDigits ? fmt::format("{:#.4g}", value) : fmt::format("{:.0f}", value);
}

std::string perplexity_text(double nll_sum, std::int64_t scored_tokens) {
  return scored_tokens == 0 ? "" : perplexity_text(perplexity(nll_sum, scored_tokens));
}

std::vector<std::string> method_columns(const EvaluationReport& report, const std::string& first) {
  std::vector<std::string> columns = {first};
  for (const ReportedMethod& method : report.methods) columns.push_back(method.name);
  return columns;
}

/// The row of each key, a cell for each method in the order of the report.
template <typename Key>
using RowsByMethod = std::map<Key, std::vector<std::string>>;

std::string window_tables(const EvaluationReport& report, bool sliding) {
  RowsByMethod<std::int64_t> by_token;
  RowsByMethod<std::int64_t> by_window;
  SlidingWindows windows;
  for (const PerplexityResult& result : report.perplexity) {
    if (result.sliding.has_value() != sliding) continue;
    by_token[result.length].push_back(perplexity_text(result.perplexity()));
    if (!sliding) continue;
    windows = *result.sliding;
    by_window[result.length].push_back(perplexity_text(windows.ppl_yarn));
  }
  if (by_token.empty()) return {};
  const auto table = [&](const RowsByMethod<std::int64_t>& rows) {
    std::string text = heading(method_columns(report, "tokens"));
    for (const auto& [length, cells] : rows) {
      std::vector<std::string> all = {std::to_string(length)};
      all.insert(all.end(), cells.begin(), cells.end());
      text += row(all);
    }
    return text;
  };
  if (!sliding) return "\n## Perplexity\n\nOne pass over the first tokens of each document.\n" + table(by_token);
  return fmt::format("\n## Perplexity in windows of {} tokens, {} apart\n\nEach token counts the same (`ppl_token`):\n",
                     windows.window, windows.stride) +
         table(by_token) + "\nEach window counts the same (`ppl_yarn`):\n" + table(by_window);
}

/// A table of one-pass perplexities for each length of more than one block.
std::string position_tables(const EvaluationReport& report) {
  std::map<std::int64_t, RowsByMethod<std::int64_t>> tables;  // by length, by first token of the block
  for (const PerplexityResult& result : report.perplexity) {
    if (result.sliding || result.length <= kBlockTokens) continue;
    std::int64_t begin = 0;
    for (const auto& [nll_sum, scored_tokens] : result.blocks) {
      tables[result.length][begin].push_back(perplexity_text(nll_sum, scored_tokens));
      begin += kBlockTokens;
    }
  }
  std::string text;
  for (const auto& [length, rows] : tables) {
    text += fmt::format("\n## Perplexity by position, {} tokens\n", length);
    text += heading(method_columns(report, "positions"));
    for (const auto& [begin, cells] : rows) {
      std::vector<std::string> all = {fmt::format("{}–{}", begin, std::min(begin + kBlockTokens, length) - 1)};
      all.insert(all.end(), cells.begin(), cells.end());
      text += row(all);
    }
  }
  return text;
}

std::string accuracy_text(const RetrievalResult& result) {
  return fmt::format("{}/{} [{:.3f}, {:.3f}]", result.right, result.answers, result.interval.low, result.interval.high);
}

/// By length and depth, a table for each method.
std::string retrieval_tables(const EvaluationReport& report, RetrievalKind kind) {
  using ByDepth = std::map<double, std::string>;
  std::map<std::string, std::map<std::int64_t, ByDepth>> tables;  // by method, by length
  std::set<double> depths;
  for (const RetrievalResult& result : report.retrieval) {
    if (result.kind != kind) continue;
    tables[result.method][result.length][result.depth] = accuracy_text(result);
    depths.insert(result.depth);
  }
  if (tables.empty()) return {};
  std::string text = kind == RetrievalKind::kPasskey ? "\n## Pass keys\n" : "\n## Needles\n";
  text += "\nRight answers of all, with the exact 95 % interval of the accuracy.\n";
  for (const ReportedMethod& method : report.methods) {
    std::vector<std::string> columns = {"tokens"};
    for (const double depth : depths) columns.push_back(fmt::format("depth {}", depth));
    text += "\n### " + cell(method.name) + "\n" + heading(columns);
    for (auto& [length, by_depth] : tables[method.name]) {
      std::vector<std::string> cells = {std::to_string(length)};
      for (const double depth : depths) cells.push_back(by_depth[depth]);
      text += row(cells);
    }
  }
  return text;
}

}  // namespace

std::string to_markdown(const EvaluationReport& report) {
  std::string text = fmt::format("# Evaluation of {}\n\n", cell(report.model.name));
  text += fmt::format("- Model: trained at {} tokens, reaches {}; digest {}\n", report.model.original_length,
                      report.model.reached_length, report.model.digest);
  const auto documents = [&](const std::string& name, const EvaluatedFile& file) {
    text += fmt::format("- {}: {} of {}, digest {}\n", name, file.count, cell(file.file), file.digest);
  };
  documents("Documents", report.documents);
  for (const auto& [kind, file] : report.retrieval_files) {
    documents(kind == RetrievalKind::kPasskey ? "Pass keys" : "Needles", file);
  }
  for (const ReportedMethod& method : report.methods) {
    if (!method.file.empty()) text += fmt::format("- Factors {}: {}\n", cell(method.name), cell(method.file));
  }
  text += fmt::format("- Computed in {} with {} angles: {}\n", report.dtype, report.angles, cell(report.device));
  return text + window_tables(report, /*sliding=*/false) + window_tables(report, /*sliding=*/true) +
         position_tables(report) + retrieval_tables(report, RetrievalKind::kPasskey) +
         retrieval_tables(report, RetrievalKind::kNeedle);
}

}  // namespace longrope

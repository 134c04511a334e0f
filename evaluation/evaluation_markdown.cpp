#include "evaluation/evaluation_markdown.h"

#include "evaluation/perplexity_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace longrope {
namespace {

constexpr const char* kMark = "*";  // of the best number; stands after it, so it begins no emphasis

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

std::optional<double> perplexity_of(double nll_sum, std::int64_t scored_tokens) {
  return scored_tokens == 0 ? std::nullopt : std::optional(perplexity(nll_sum, scored_tokens));
}

/// Perplexities of one row, by method; a cell without one stays empty.
using Perplexities = std::vector<std::optional<double>>;

/// A row of perplexities, with the lowest marked where there is anything to choose.
std::string marked_row(std::string first, const Perplexities& values) {
  std::optional<double> lowest;
  std::optional<double> highest;
  for (const std::optional<double>& value : values) {
    if (!value) continue;
    lowest = std::min(lowest.value_or(*value), *value);
    highest = std::max(highest.value_or(*value), *value);
  }
  std::vector<std::string> cells = {std::move(first)};
  for (const std::optional<double>& value : values) {
    cells.push_back(value ? perplexity_text(*value) : "");
    if (value && value == lowest && lowest != highest) cells.back() += kMark;
  }
  return row(cells);
}

std::vector<std::string> method_columns(const EvaluationReport& report, const std::string& first) {
  std::vector<std::string> columns = {first};
  for (const ReportedMethod& method : report.methods) columns.push_back(method.name);
  return columns;
}

/// The row of each key, a cell for each method in the order of the report.
template <typename Key>
using RowsByMethod = std::map<Key, Perplexities>;

std::string window_tables(const EvaluationReport& report, bool sliding) {
  RowsByMethod<std::int64_t> by_token;
  RowsByMethod<std::int64_t> by_window;
  SlidingWindows windows;
  for (const PerplexityResult& result : report.perplexity) {
    if (result.sliding.has_value() != sliding) continue;
    by_token[result.length].push_back(result.perplexity());
    if (!sliding) continue;
    windows = *result.sliding;
    by_window[result.length].push_back(windows.ppl_yarn);
  }
  if (by_token.empty()) return {};
  const auto table = [&](const RowsByMethod<std::int64_t>& rows) {
    std::string text = heading(method_columns(report, "tokens"));
    for (const auto& [length, values] : rows) {
      text += marked_row(std::to_string(length), values);
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
      tables[result.length][begin].push_back(perplexity_of(nll_sum, scored_tokens));
      begin += kBlockTokens;
    }
  }
  std::string text;
  for (const auto& [length, rows] : tables) {
    text += fmt::format("\n## Perplexity by position, {} tokens\n", length);
    text += heading(method_columns(report, "positions"));
    for (const auto& [begin, values] : rows) {
      text += marked_row(fmt::format("{}–{}", begin, std::min(begin + kBlockTokens, length) - 1), values);
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
  std::map<std::pair<std::int64_t, double>, std::pair<double, double>> extremes;  // accuracies by length and depth
  for (const RetrievalResult& result : report.retrieval) {
    if (result.kind != kind) continue;
    const double accuracy = result.accuracy();
    auto& [lowest, highest] = extremes.try_emplace({result.length, result.depth}, accuracy, accuracy).first->second;
    lowest = std::min(lowest, accuracy);
    highest = std::max(highest, accuracy);
  }
  std::map<std::string, std::map<std::int64_t, ByDepth>> tables;  // by method, by length
  std::set<double> depths;
  for (const RetrievalResult& result : report.retrieval) {
    if (result.kind != kind) continue;
    const auto& [lowest, highest] = extremes.at({result.length, result.depth});
    const bool best = result.accuracy() == highest && lowest != highest;
    tables[result.method][result.length][result.depth] = accuracy_text(result) + (best ? kMark : "");
    depths.insert(result.depth);
  }
  if (tables.empty()) return {};
  std::string text = kind == RetrievalKind::kPasskey ? "\n## Pass keys\n" : "\n## Needles\n";
  text += "\nRight answers of all, with the exact 95 % interval of the accuracy.\n";
  if (report.methods.size() > 1) text += "Marked `*`: the most of all methods at that length and depth.\n";
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
  if (report.methods.size() > 1) text += "- Marked `*`: the lowest perplexity of its row\n";
  return text + window_tables(report, /*sliding=*/false) + window_tables(report, /*sliding=*/true) +
         position_tables(report) + retrieval_tables(report, RetrievalKind::kPasskey) +
         retrieval_tables(report, RetrievalKind::kNeedle);
}

}  // namespace longrope

#pragma once

#include "common/documents/documents.h"
#include "common/error.h"
#include "evaluation/scoring_task.h"
#include "worker/scoring/perplexity_scorer.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// What `score` and `evaluate` have in common: both measure documents without a coordinator.
struct ScoringArguments {
  std::string model;
  std::optional<std::int64_t> reached_length;
  std::string documents;
  std::optional<std::int64_t> count;
  std::string dtype = "fp32";
  std::string angles = "fp64";
  std::string device = "cpu";
  std::int64_t threads = 1;
  std::int64_t memory_budget = 0;
};

/// Adds the options of `arguments`, which must outlive `command`.
void add_scoring_options(CLI::App& command, ScoringArguments& arguments);

/// With phases not timed, and every layer seeing the whole document. Throws InputError for an unknown dtype or angle
/// mode.
[[nodiscard]] ScorerOptions scorer_options(const ScoringArguments& arguments);

/// The first --count of --documents, which must be of the model's tokenizer. Throws InputError.
[[nodiscard]] std::vector<Document> documents_to_score(const ScoringArguments& arguments);

/// How far the scorer's progress will go when it measures all tasks. Throws as PerplexityScorer::measure for a task
/// that is refused or does not fit into memory, before any is measured.
[[nodiscard]] std::int64_t expected_progress(const PerplexityScorer& scorer, std::span<const ScoringTask> tasks);
/// measure_tasks() by the scorer, whose progress towards `expected` is shown on standard error.
[[nodiscard]] std::vector<TaskResults> measure_tasks(PerplexityScorer& scorer, std::span<const ScoringTask> tasks,
                                                     std::int64_t expected);

/// Throws InputError for a value that is given twice: "lengths must differ: 512 (--length)".
template <typename Value>
void require_different(const std::vector<Value>& values, std::string_view what, std::string_view option) {
  for (auto value = values.begin(); value != values.end(); ++value) {
    if (std::find(values.begin(), value, *value) != value) {
      throw InputError(fmt::format("{} must differ: {} ({})", what, *value, option));
    }
  }
}

}  // namespace longrope

#pragma once

#include "common/documents/documents.h"
#include "common/error.h"
#include "worker/scoring/perplexity_scorer.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// What the commands that score documents without a coordinator have in common.
struct ScoringArguments {
  std::string model;
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

/// Sliding windows are not kept to and phases not timed. Throws InputError for an unknown dtype or angle mode.
[[nodiscard]] ScorerOptions scorer_options(const ScoringArguments& arguments);

/// The first --count of --documents, which must be of the model's tokenizer. Throws InputError.
[[nodiscard]] std::vector<Document> documents_to_score(const ScoringArguments& arguments);

/// require_measurable (worker/scoring/fitness.h) of every document of `path`, which a refusal names too.
void require_measurable(const Fitness& fitness, std::span<const Document> documents, const std::filesystem::path& path,
                        std::int64_t length, std::int64_t vocabulary);

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

#pragma once

#include "common/documents/documents.h"
#include "common/rope/rescale_factors.h"
#include "worker/scoring/fitness.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace longrope {

/// One document that goes through the model once, with all factor sets that are measured on it. Points into what its
/// maker owns.
struct ScoringTask {
  std::span<const RescaleFactors> factors;
  std::span<const std::string> names;  // of `factors`, for messages
  Fitness fitness;
  const Document* document = nullptr;
  std::int64_t length = 0;  // tokens: the first of the document
  bool gradient = false;    // also with respect to the factors; only of FitnessKind::kPerplexity
};

using TaskResults = std::vector<FitnessResult>;  // one for each of a task's factor sets, in their order
/// Puts a task through the model. PerplexityScorer::measure in the programs, a fake in tests.
using MeasureTask = std::function<TaskResults(const ScoringTask&)>;

/// The results of every task, measured in order. Throws Error naming document, length and factors as soon as an NLL is
/// not finite, and what `measure` throws.
[[nodiscard]] std::vector<TaskResults> measure_tasks(std::span<const ScoringTask> tasks, const MeasureTask& measure);

/// The most tokens that the model sees at once of a document of `length` tokens: closed forms are made for it.
[[nodiscard]] std::int64_t longest_context(const Fitness& fitness, std::int64_t length);

/// require_measurable (worker/scoring/fitness.h) for every document of the file `path`, which a refusal names too.
void require_measurable(const Fitness& fitness, std::span<const Document> documents, const std::filesystem::path& path,
                        std::int64_t length, std::int64_t vocabulary);

}  // namespace longrope

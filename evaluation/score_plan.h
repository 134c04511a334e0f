#pragma once

#include "common/documents/documents.h"
#include "common/rope/rescale_factors.h"
#include "evaluation/score_report.h"
#include "evaluation/scoring_task.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace longrope {

/// What `longrope score` measures: every document at every length under every factor set.
struct ScorePlan {
  Fitness fitness;
  std::vector<std::string> names;                    // of the factor sets, as the command line has them
  std::vector<std::int64_t> lengths;                 // tokens
  std::vector<std::vector<RescaleFactors>> factors;  // [lengths][names]: closed forms depend on the length
  std::vector<Document> documents;
  bool gradient = false;  // also with respect to the factors
};

/// By length, then by document; all factor sets of a document go through the model together. The plan must outlive
/// them.
[[nodiscard]] std::vector<ScoringTask> scoring_tasks(const ScorePlan& plan);
/// The results of scoring_tasks() by factor set, for a report.
[[nodiscard]] std::vector<ScoredFactors> scored_factors(const ScorePlan& plan, std::span<const TaskResults> results);

}  // namespace longrope

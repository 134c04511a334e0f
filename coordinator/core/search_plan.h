#pragma once

#include "common/rope/closed_form_factors.h"
#include "common/wire/score_result.h"
#include "config/config.h"
#include "coordinator/search/search_algorithm.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace longrope {

struct PlannedDocument {
  std::string digest;
  std::int64_t scored_tokens = 0;        // tokens that a correct result counts, within the stage's target length
  std::int64_t scored_within_reach = 0;  // the same within the length that the checkpoint reaches; 0: none
};

struct PlannedStage {
  SearchStage config;
  SearchSpace space;
  RopeScaling carried;                  // by the checkpoint; baselines extend it, also where a recovery replaces it
  std::size_t budget = 0;               // candidates
  double passes = 0.0;                  // SearchResources::passes
  std::vector<PlannedDocument> search;  // [documents], in file order
  std::vector<PlannedDocument> heldout;
  std::vector<PlannedDocument> final_documents;  // empty: the held-out documents judge the winner that they chose

  /// The documents that the winner and the baselines are compared on.
  [[nodiscard]] const std::vector<PlannedDocument>& judging() const {
    return final_documents.empty() ? heldout : final_documents;
  }
};

/// What the stage's algorithm may use.
[[nodiscard]] SearchResources resources_of(const PlannedStage& stage);

/// Everything that determines the course of a search, with files already read and checked.
struct SearchPlan {
  std::uint64_t seed = 0;
  std::string model_name;
  std::string model_digest;
  ComputeDtype dtype = ComputeDtype::kFp32;
  AngleMode angles = AngleMode::kFp64;
  std::int64_t threads_per_worker = 1;
  SchedulingConfig scheduling;
  std::vector<PlannedStage> stages;
};

/// Identity of one evaluation: whatever can change its result and nothing else (design §3).
[[nodiscard]] std::string evaluation_hash(const SearchPlan& plan, EvaluationKind kind,
                                          const std::string& factors_digest, const std::string& document_digest,
                                          std::int64_t length);

}  // namespace longrope

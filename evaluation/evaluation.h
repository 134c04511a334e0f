#pragma once

#include "common/documents/documents.h"
#include "evaluation/evaluated_methods.h"
#include "evaluation/evaluation_documents.h"
#include "evaluation/evaluation_report.h"
#include "evaluation/scoring_task.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace longrope {

struct EvaluationPlan {
  std::vector<EvaluatedMethod> methods;
  std::vector<std::int64_t> lengths;  // tokens, ascending
  std::optional<Fitness> sliding;     // measured at those of the lengths that hold a window
  std::vector<Document> documents;    // each has the longest of the lengths
  std::vector<RetrievalDocument> retrieval;
};

/// Says what must be measured to compare the methods of a plan, and makes the report of what came out. All methods of a
/// document go through the model together, and factors that several methods share only once. Not thread-safe.
class Evaluation {
 public:
  /// Makes the factors of every method for every context. Throws InputError for those that do not fit `model`.
  Evaluation(EvaluationPlan plan, const ModelDescription& model);
  Evaluation(const Evaluation&) = delete;  // tasks point into the plan
  Evaluation& operator=(const Evaluation&) = delete;

  /// One pass over each document at each length, then sliding windows, then retrieval. Valid while this lives.
  [[nodiscard]] std::vector<ScoringTask> tasks() const;
  /// Fills methods, perplexity and retrieval of `report` from the results of tasks().
  void fill(EvaluationReport& report, std::span<const TaskResults> results) const;

 private:
  /// The methods' factors for one context.
  struct Factors {
    std::vector<RescaleFactors> different;  // each once
    std::vector<std::string> names;         // of `different`: the first method that has them
    std::vector<std::string> digests;       // of `different`
    std::vector<std::size_t> of_method;     // indices into `different`
  };
  struct Measurement {
    ScoringTask task;
    const Factors* factors = nullptr;
    const RetrievalDocument* retrieval = nullptr;  // null: perplexity
  };

  [[nodiscard]] Factors factors_for(const ModelDescription& model, std::int64_t context) const;
  void add_measurement(const Document& document, const Fitness& fitness, const RetrievalDocument* retrieval,
                       std::int64_t length, const ModelDescription& model);
  [[nodiscard]] std::vector<ReportedMethod> reported_methods() const;

  EvaluationPlan plan_;
  std::map<std::int64_t, Factors> factors_;  // by context
  std::vector<Measurement> measurements_;
};

}  // namespace longrope

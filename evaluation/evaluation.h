#pragma once

#include "common/documents/documents.h"
#include "evaluation/evaluated_methods.h"
#include "evaluation/evaluation_report.h"
#include "worker/scoring/perplexity_scorer.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

struct RetrievalDocument {
  RetrievalKind kind = RetrievalKind::kPasskey;
  double depth = 0.0;
  Document document;  // masked; measured at its whole length
};

struct EvaluationPlan {
  std::vector<EvaluatedMethod> methods;
  std::vector<std::int64_t> lengths;  // tokens, ascending
  std::optional<Fitness> sliding;     // at the lengths that hold a window
  std::vector<Document> documents;    // each has the longest of the lengths
  std::vector<RetrievalDocument> retrieval;
};

/// Measures every method of a plan on every document. All methods of a document go through the model together, equal
/// factors once. Not thread-safe.
class Evaluation {
 public:
  /// Makes the factors of every method for every context. Throws InputError for those that do not fit `model`.
  Evaluation(EvaluationPlan plan, const ModelDescription& model);
  Evaluation(const Evaluation&) = delete;  // tasks point into the plan
  Evaluation& operator=(const Evaluation&) = delete;

  /// Fills methods, perplexity and retrieval of `report`. Shows progress on standard error. Throws as
  /// PerplexityScorer::measure, before anything is computed where that can be known, and Error for an NLL that is no
  /// number.
  void measure(PerplexityScorer& scorer, EvaluationReport& report) const;

 private:
  /// One document, under one fitness.
  struct Task {
    const Document* document = nullptr;
    std::int64_t length = 0;
    Fitness fitness;
    const RetrievalDocument* retrieval = nullptr;  // null: perplexity

    /// The longest context that the model sees.
    [[nodiscard]] std::int64_t context() const;
  };
  /// The methods' factors for one context.
  struct Factors {
    std::vector<RescaleFactors> different;  // each once
    std::vector<std::size_t> of_method;     // indices into `different`
    std::vector<std::string> digests;       // of `different`
  };

  [[nodiscard]] Factors factors_for(const ModelDescription& model, std::int64_t context) const;
  [[nodiscard]] std::vector<ReportedMethod> reported_methods() const;

  EvaluationPlan plan_;
  std::vector<Task> tasks_;
  std::map<std::int64_t, Factors> factors_;  // by context
};

}  // namespace longrope

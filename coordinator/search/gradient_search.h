#pragma once

#include "coordinator/search/factor_descent.h"
#include "coordinator/search/genome.h"
#include "coordinator/search/search_algorithm.h"
#include "coordinator/search/spaces/factor_space.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// Candidates of each phase of a gradient search, in their order: what it will ask, known before the first result.
struct GradientPhases {
  std::size_t seeds = 0;           // each scored on one document
  std::size_t compared = 0;        // the best of them, on a second document too
  std::size_t attention = 0;       // the best of those under the other attention factors
  std::size_t steps = 0;           // gradients, each at the point that the one before led to
  std::size_t finalists = 0;       // means of iterates, and the last one
  std::size_t race_documents = 0;  // that each of those is scored on

  [[nodiscard]] std::size_t first_step() const { return seeds + compared + attention; }
  [[nodiscard]] std::size_t first_finalist() const { return first_step() + steps; }
  [[nodiscard]] std::size_t candidates() const { return first_finalist() + finalists; }
};

/// Method "gradient" (docs/search.md): the best of several seeds, then descent along gradients of a few documents at a
/// time (FactorDescent), then a race of the means of iterates. Its candidates want one document or some, not all.
class GradientSearch final : public SearchAlgorithm {
 public:
  /// `config` must have passed make_search_algorithm's checks.
  GradientSearch(const SearchConfig& config, const SearchSpace& space, const SearchResources& resources,
                 std::uint64_t seed, const std::string& stage);

  [[nodiscard]] const GradientPhases& phases() const { return phases_; }
  [[nodiscard]] std::size_t results_needed(std::size_t k) const override;
  [[nodiscard]] std::optional<Candidate> ask(std::size_t k) override;
  void tell(std::size_t k, const CandidateResult& result) override;

 private:
  /// Where a descent may begin.
  struct Start {
    std::string origin;
    SpaceParameters parameters;
  };

  [[nodiscard]] std::vector<Start> closed_forms(const SearchConfig& config, const SearchSpace& space) const;
  [[nodiscard]] std::vector<Start> neighbours(std::size_t count) const;
  [[nodiscard]] std::vector<std::size_t> best_of(std::size_t begin, std::size_t end, std::size_t count) const;
  [[nodiscard]] std::vector<DocumentRequest> requests(std::size_t first, std::size_t count, EvaluationKind kind) const;
  [[nodiscard]] RescaleFactors factors_of(const SpaceParameters& parameters) const;
  [[nodiscard]] RescaleFactors finished(const SpaceParameters& parameters) const;
  [[nodiscard]] Candidate compared_candidate(std::size_t index);
  [[nodiscard]] Candidate attention_candidate(std::size_t index);
  [[nodiscard]] Candidate step_candidate(std::size_t step);
  [[nodiscard]] Candidate race_candidate(std::size_t index) const;
  [[nodiscard]] bool begin_descent();

  GenomeSpace grid_;
  std::unique_ptr<FactorSpace> space_;
  bool is_full_;
  bool moves_attention_;
  std::vector<AttentionFactor> attention_choices_;  // the first is that of the seeds
  std::size_t batch_;
  double step_size_;
  std::vector<std::size_t> documents_;  // in the order in which gradients take them
  std::vector<Start> starts_;           // of the candidates before the first step, in their order
  GradientPhases phases_;
  std::size_t asked_ = 0;
  std::vector<double> told_;  // mean NLL
  std::size_t start_ = 0;     // candidate that the descent begins at
  std::optional<FactorDescent> descent_;
  std::vector<SpaceParameters> iterates_;
};

}  // namespace longrope

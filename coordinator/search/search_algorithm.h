#pragma once

#include "common/model/rope_scaling.h"
#include "common/rope/closed_form_factors.h"
#include "common/rope/rescale_factors.h"
#include "common/wire/score_result.h"
#include "config/config.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// What an algorithm wants to know of a candidate: a score or a gradient of one of the stage's search documents.
struct DocumentRequest {
  std::size_t document = 0;  // index in SearchResources::documents
  EvaluationKind kind = EvaluationKind::kScore;
};

/// One proposal of a search.
struct Candidate {
  RescaleFactors factors;
  std::string origin;                          // "seed:yarn", "mutation", "crossover:uniform", …
  std::vector<std::size_t> parents;            // indices of earlier candidates; empty for seeds
  std::vector<DocumentRequest> requests = {};  // empty: the score of every search document
  /// Candidates of a higher rung rank before all of a lower one, whatever their NLL: it is not of the same documents.
  std::int64_t rung = 0;
};

/// What a candidate's evaluations gave.
struct CandidateResult {
  double mean_nll = 0.0;  // nats per scored token over its documents; infinity: it could not be scored
  std::vector<ScoreResult> documents = {};  // in the order of its requests; empty with infinity
};

/// What a search may use.
struct SearchResources {
  std::size_t documents = 0;  // search documents of the stage
  double passes = 0.0;        // document passes; for "gradient", which plans with them
};

/// Document passes that a gradient is counted as: its time over that of a score of the same document, in float32
/// (bench/results/2026-11-30-gradient-against-score.md).
inline constexpr double kGradientPasses = 3.5;

/// What is searched over; the same for every algorithm. On a model that carries rope scaling a search extends it: λ on
/// the grid and attention policies are measured from the length that it reaches and multiply what it has (spec §5.1).
/// Candidates, seeds and baselines are always total.
struct SearchSpace {
  RotaryGeometry geometry;
  RopeScaling scaling;  // what the checkpoint carries
  std::int64_t target_length = 0;
  FactorGrid grid;
  std::vector<std::int64_t> n_hat_choices;          // {0} when n̂ is fixed, as it is with scaling
  std::vector<AttentionPolicy> attention_policies;  // at least one; the m of "value" is total
  std::vector<RescaleFactors> published_seeds;      // given in the configuration, may be exact (off grid)

  /// Tokens that the model reaches by itself; the extension ratio is the target length divided by it.
  [[nodiscard]] std::int64_t reached_length() const;
};

/// Ask/tell search whose trajectory is a pure function of (configuration, seed, results) (design §4).
/// The caller keeps one fixed order of calls: before ask(k) exactly the candidates 0 … results_needed(k) − 1 have been
/// told, in index order. So an algorithm may keep plain state and never sees how many workers there are.
/// No I/O, no clock. Not thread-safe.
class SearchAlgorithm {
 public:
  virtual ~SearchAlgorithm() = default;

  /// How many results must have been told before ask(k): at most k; non-decreasing in k.
  [[nodiscard]] virtual std::size_t results_needed(std::size_t k) const = 0;

  /// Candidate k, for k = 0, 1, 2, … in order; monotone over what the checkpoint carries, and what it wants to know was
  /// never asked before. nullopt: nothing new could be found (the space is exhausted); the search ends.
  [[nodiscard]] virtual std::optional<Candidate> ask(std::size_t k) = 0;

  virtual void tell(std::size_t k, const CandidateResult& result) = 0;
};

/// λ grid of a stage with extension ratio `ratio` = target length / reached length: step 1/steps_per_unit, upper bound
/// `config.upper_bound` if given, else 1 + ratio for "authors" or by option, else 1.25·ratio (spec §3).
/// Throws InputError when the bound leaves no grid.
[[nodiscard]] FactorGrid search_grid(const SearchConfig& config, double ratio);

/// Candidates a search proposes by default: P + T·(N1 + N2), whatever the method, so that methods compare at equal
/// cost.
[[nodiscard]] std::size_t default_budget(const SearchConfig& config);
/// Candidates that the stage's search asks for by default: default_budget(), or what "gradient" plans.
[[nodiscard]] std::size_t planned_candidates(const SearchConfig& config, const SearchSpace& space,
                                             const SearchResources& resources);

/// The algorithm that the stage's configuration names. `seed` and the name `stage` key its random streams; `resources`
/// as far as they are known.
/// Checks everything that it is given: throws InputError for values out of range, parameters that contradict each other
/// or that the method does not have, and a space without a factor set or a seed. The returned algorithm's ask and tell
/// throw std::logic_error when the caller breaks the order of calls above, and nothing else.
[[nodiscard]] std::unique_ptr<SearchAlgorithm> make_search_algorithm(const SearchConfig& config,
                                                                     const SearchSpace& space,
                                                                     const SearchResources& resources,
                                                                     std::uint64_t seed, std::string stage);

}  // namespace longrope

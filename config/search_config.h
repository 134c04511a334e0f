#pragma once

#include "common/rope/rescale_factors.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

enum class SearchMethod { kLongrope = 0, kAuthors = 1, kRandom = 2, kGradient = 3 };
[[nodiscard]] std::string_view to_string(SearchMethod method);  // "longrope", "authors", "random", "gradient"

/// The space that has every factor set.
inline constexpr std::string_view kFullSpace = "full";

/// [stage.search] of a configuration: which factors a stage proposes. Names and defaults are those of the paper for
/// targets up to 256k (spec §4.2). All fields determine the trajectory: a database continues under the same values
/// only. Methods that a field is not named for ignore it, except that "authors" refuses what the released code cannot
/// do.
struct SearchConfig {
  /// "longrope": the paper's genetic algorithm. "authors": with the released code's operators. "random": a baseline
  /// that uses no results. "gradient": descent along gradients of the NLL, for about a fiftieth of the passes.
  SearchMethod method = SearchMethod::kLongrope;

  // How many candidates a genetic search proposes: P + T·(N1 + N2), also the default budget of every other method.
  /// P: candidates before the first is bred, seeds and mutants of seeds. Grows to the number of seeds where that is
  /// larger.
  std::int64_t population_size = 64;
  /// N1: mutants per iteration.
  std::int64_t num_mutations = 16;
  /// N2: crossovers per iteration. N1 + N2 must be at least 1.
  std::int64_t num_crossovers = 16;
  /// T: iterations after the population.
  std::int64_t num_iterations = 40;
  /// k: parents are drawn from the k best candidates told. Fewer converge faster and try less.
  std::int64_t num_parents = 32;

  /// p, in (0, 1]: chance that a mutation redraws a gene (each λ, n̂, attention policy).
  double mutation_probability = 0.3;
  /// "authors" only, in (0, 1]: chance that a crossover considers a λ.
  double crossover_probability = 0.3;
  /// Tries for a child that is monotone and new; then a mutant of the better parent is proposed instead.
  std::int64_t max_crossover_tries = 20;

  /// True: breed when all results of the iteration before are told, as the paper does; workers wait at the end of each.
  /// False: steady state, under `lag`.
  bool generational = true;
  /// L, steady state only: candidate k is bred from candidates <= k − L. No worker waits when L is at least the number
  /// of candidates in flight; a larger L breeds from older results.
  std::int64_t lag = 16;

  /// q: λ lies on a grid of step 1/q. A finer grid is a larger space.
  std::int32_t steps_per_unit = 100;
  /// Largest λ, with s the extension ratio: false 1.25·s (the paper), true 1 + s (the released code, and always for
  /// "authors"). TOML: upper_bound = "1.25s" or "1+s".
  bool upper_bound_one_plus_ratio = false;
  /// Largest λ as a number above 1, in place of both rules.
  std::optional<double> upper_bound;

  /// Closed forms to begin with: "pi", "ntk", "yarn", "ramp". Each costs one candidate for each attention policy.
  /// "gradient" screens a portfolio of a dozen closed forms (seed_portfolio()) unless others than the default are
  /// named.
  std::vector<std::string> seeds = {"pi", "ntk", "yarn"};
  /// Files of factors to begin with (canonical JSON, Hugging Face config.json or CSV), each one candidate.
  std::vector<std::filesystem::path> seed_files;

  /// How the attention factor m is chosen; with several policies it is a gene. "gradient" begins with m = 1 or one of
  /// these, whichever is best, and moves m from there; ["value"] alone keeps it.
  std::vector<AttentionPolicy> attention_policies = {AttentionPolicy::kSu};
  /// m of the policy "value": finite and positive; 1 leaves attention as it is.
  double attention_value = 1.0;
  /// n̂: leading positions that keep their angle; with several choices it is a gene. TOML: n_hat. No inference engine
  /// can express another value than 0.
  std::vector<std::int64_t> n_hat_choices = {0};

  /// Share of mutants that are block or power moves, in [0, 1] (spec §4.4 [D]); 0 is the paper's search.
  double block_move_probability = 0.0;
  /// Standard deviation of the logarithm of the factor that such a move multiplies with. Larger moves leap further.
  double block_move_sigma = 0.1;

  /// "gradient": what factors are searched in. "full": one λ a pair. What an engine can compute by a formula of its
  /// own: "theta" (rope_theta alone), "yarn" (its four numbers), "llama3" (its three). "boundary": four numbers and m;
  /// "critical": pairs below a critical pair follow NTK.
  std::string space = std::string(kFullSpace);
  /// "gradient": documents whose gradients one step takes together. As many workers can be at work; a step costs so
  /// many gradients.
  std::int64_t batch = 1;
  /// "gradient": the first step, in units of a pair's freedom (FactorDescent); it falls to zero along a cosine. Larger
  /// steps come further in few passes and end less exactly.
  double step_size = 0.1;
};

/// [stage.stop]: the first rule that holds ends the search of the stage; the stage's row says which. All but time_limit
/// determine the trajectory.
struct StopConfig {
  /// Budget in candidates; without it P + T·(N1 + N2) of SearchConfig, for every method.
  std::optional<std::int64_t> max_candidates;
  /// "gradient", in place of max_candidates: document passes of the whole stage but its baselines and final documents,
  /// so with those of the finalists on held-out documents. Default 134, a fiftieth of the paper's 6,720.
  std::optional<std::int64_t> max_passes;
  /// Ends the search when the best mean NLL has not improved over so many told candidates; without it never.
  std::optional<std::int64_t> patience;
  /// δ in [0, 1]: improvement of the best mean NLL, relative to it, that `patience` counts as one.
  double min_relative_improvement = 0.001;
  /// Ends the search after so much time spent in it, over all restarts. How many candidates that allows depends on the
  /// workers, so two such searches may differ. None by default.
  std::optional<std::chrono::seconds> time_limit;
};

/// StopConfig::max_passes where it is not given.
inline constexpr std::int64_t kDefaultPasses = 134;

/// One search: a [[stage]] of kind "search" or "recover".
struct SearchStage {
  /// Keys the random streams of the stage: another name is another search.
  std::string name;
  /// Tokens of each document that are scored, BOS included. Required; must exceed what the checkpoint reaches (of a
  /// recovery: must not).
  std::int64_t target_length = 0;
  /// Documents file that every candidate is scored on. Required.
  std::filesystem::path search_documents;
  /// Another documents file, without a document of the first; the finalists are scored on it. Required.
  std::filesystem::path heldout_documents;
  /// Number of documents that candidates are scored on: the first of the file, which must have so many. Default: all.
  /// The cost of a candidate is proportional.
  std::optional<std::int64_t> search_count;
  /// The same for the held-out documents, on which only the finalists and the baselines are scored.
  std::optional<std::int64_t> heldout_count;
  /// Number of the best candidates that are scored on the held-out documents; the best of them there wins. Default 8.
  std::int64_t finalists = 8;
  /// A third documents file, without a document of the others; the winner and the baselines are scored on it once the
  /// winner is chosen. Default: none, and the winner is judged by the held-out documents, which flatter what they
  /// chose.
  std::filesystem::path final_documents;
  /// Number of the first documents of that file that are used. Default: all.
  std::optional<std::int64_t> final_count;
  SearchConfig search;
  StopConfig stop;
  /// Short-context recovery (spec §5.4): λ for a length that the model reaches already, in place of what it carries.
  bool recovery = false;
  /// Pipelines: names of searches before this one on the same checkpoint, whose winners, rescaled to this length, are
  /// further seeds. Default: none.
  std::vector<std::string> seed_stages;
};

/// Canonical JSON of everything in a stage that the trajectory depends on; seed files stand in it as the SHA-256 of
/// their content, documents do not: the database has their digests itself.
[[nodiscard]] nlohmann::json trajectory_settings(const SearchStage& stage);

}  // namespace longrope

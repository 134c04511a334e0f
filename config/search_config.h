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

enum class SearchMethod { kLongrope = 0, kAuthors = 1, kRandom = 2 };
[[nodiscard]] std::string_view to_string(SearchMethod method);  // "longrope", "authors", "random"

/// [stage.search]: names and defaults are those of the paper (spec §4.2).
struct SearchConfig {
  SearchMethod method = SearchMethod::kLongrope;
  std::int64_t population_size = 64;   // P
  std::int64_t num_mutations = 16;     // N1, per iteration
  std::int64_t num_crossovers = 16;    // N2, per iteration
  std::int64_t num_iterations = 40;    // T
  std::int64_t num_parents = 32;       // k of top-k
  double mutation_probability = 0.3;   // p, per gene
  double crossover_probability = 0.3;  // "authors" only: chance that a gene is considered
  std::int64_t max_crossover_tries = 20;
  bool generational = true;                 // false: steady state, lag below
  std::int64_t lag = 16;                    // L: candidate k is bred from candidates <= k − L (steady state only)
  std::int32_t steps_per_unit = 100;        // q: λ grid step 1/q
  bool upper_bound_one_plus_ratio = false;  // ub = 1 + s as the released code, instead of 1.25·s
  std::optional<double> upper_bound;        // overrides both rules
  std::vector<std::string> seeds = {"pi", "ntk", "yarn"};  // closed forms; also "ramp"
  std::vector<std::filesystem::path> seed_files;           // published arrays
  std::vector<AttentionPolicy> attention_policies = {AttentionPolicy::kSu};
  double attention_value = 1.0;  // m of policy "value"
  std::vector<std::int64_t> n_hat_choices = {0};
  double block_move_probability = 0.0;  // spec §4.4 [D]: share of mutants that are block or power moves
  double block_move_sigma = 0.1;        // deviation of the block's ln factor
};

/// [stage.stop]: the first rule that holds ends the search; the stage's row says which.
struct StopConfig {
  std::optional<std::int64_t> max_candidates;  // default P + T·(N1 + N2)
  std::optional<std::int64_t> patience;        // M told candidates without relative improvement above the next value
  double min_relative_improvement = 0.001;     // δ, of the best mean NLL
  std::optional<std::chrono::seconds> time_limit;
};

struct StageConfig {
  std::string name;
  std::int64_t target_length = 0;  // tokens, BOS included
  std::filesystem::path search_documents;
  std::filesystem::path heldout_documents;
  std::optional<std::int64_t> search_count;  // first N documents of the file; all by default
  std::optional<std::int64_t> heldout_count;
  std::int64_t finalists = 8;  // best candidates that are scored on the held-out documents
  SearchConfig search;
  StopConfig stop;
  /// Short-context recovery (spec §5.4): λ for a length that the model reaches already, in place of what it carries.
  bool recovery = false;
  /// Searches before it on the same checkpoint, whose winners are rescaled to this length and begin the search.
  std::vector<std::string> seed_stages;
};

/// Canonical JSON of everything in a stage that the trajectory depends on; seed files stand in it as the SHA-256 of
/// their content, documents do not: the database has their digests itself.
[[nodiscard]] nlohmann::json trajectory_settings(const StageConfig& stage);

}  // namespace longrope

#pragma once

#include "common/rope/rescale_factors.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

// What people ask a search database. Perplexities are exp(mean NLL), token-weighted over the documents; texts are those
// of the database (schemas/database.md); times are Unix milliseconds, 0 for what has not happened.

struct RunInfo {
  std::string name;
  std::uint64_t seed = 0;
  std::string model_name;
  std::string model_digest;
  std::string dtype;   // "fp32", "bf16"
  std::string angles;  // "fp64", "hf_fp32"
  std::int64_t threads_per_worker = 0;
  std::string config_file;
  std::string software_version;                // that created the database
  std::optional<std::int64_t> reached_length;  // [model] reached_length of the configuration
};

struct StageProgress {
  std::string name;
  std::int64_t target_length = 0;        // tokens
  std::string state;                     // "pending", "searching", "choosing", "finished"
  std::int64_t told = 0;                 // search candidates that were told
  std::int64_t quarantined = 0;          // search candidates that were quarantined
  std::int64_t open = 0;                 // search candidates that were asked and not yet told
  std::int64_t budget = 0;               // search candidates at most
  std::int64_t evaluations_pending = 0;  // of all candidates of the stage, baselines and held-out documents included
  std::int64_t evaluations_leased = 0;
  std::int64_t evaluations_scored = 0;
  std::int64_t evaluations_failed = 0;
  double document_passes = 0.0;                  // cost of the scored ones
  std::optional<double> best_search_perplexity;  // over the search documents
  std::optional<std::int64_t> best_index;        // k of that candidate, the first one on a tie
  std::optional<std::int64_t> winner_index;      // chosen on the held-out documents
  std::string end_reason;                        // empty, "budget", "converged", "time_limit", "exhausted"
  std::string end_detail;
  double active_seconds = 0.0;  // spent searching, over all restarts
  /// Evaluations at the target length after the search: finalists and baselines on held-out documents, winner and
  /// baselines on final ones. An estimate until the winner is chosen; 0 in a stage that an older release finished.
  std::int64_t judging_evaluations = 0;
  std::int64_t judging_scored = 0;  // those of them that are scored
};

/// What evaluations of one kind have cost so far, over all stages.
struct KindCost {
  std::string kind;              // "score", "gradient"
  std::int64_t evaluations = 0;  // in any state
  std::int64_t scored = 0;
  double document_passes = 0.0;  // of the scored ones
};

struct WorkerStatus {
  std::string id;
  std::string state;  // "connected", "lost", "left", "refused"
  std::string host;
  std::string device;
  std::int64_t threads = 0;
  std::int64_t leases = 0;  // held now
  std::int64_t results = 0;
  std::int64_t failures = 0;
  double seconds = 0.0;  // spent scoring
  std::int64_t last_seen_at = 0;
  std::string detail;
};

/// One told or quarantined search candidate. Everything above `seconds` is a function of (configuration, seed, model):
/// the same whatever the workers, their failures and the restarts were. A quarantined candidate has no scores, because
/// how many of its documents were scored before it failed is chance.
struct HistoryRow {
  std::string stage;
  std::int64_t index = 0;  // k
  std::string origin;
  std::vector<std::int64_t> parents;  // indices k
  std::string state;                  // "told", "quarantined"
  std::int64_t n_hat = 0;
  std::string attention_policy;
  double attention_value = 1.0;
  std::string factors_digest;
  std::string kind;                       // "score", "gradient" or "gradient,score"; empty when quarantined
  std::optional<std::int64_t> documents;  // scored search documents
  std::optional<double> document_passes;  // their cost
  std::optional<double> nll_sum;          // nats, summed in document order
  std::optional<std::int64_t> scored_tokens;
  std::optional<double> perplexity;
  std::optional<double> best_so_far;         // perplexity, of the stage's candidates of its rung
  std::optional<double> heldout_perplexity;  // finalists
  std::string lambda;                        // JSON array, shortest round-trip decimals

  double seconds = 0.0;      // of scoring, summed over the documents
  std::int64_t workers = 0;  // distinct
  std::int64_t told_at = 0;
};

/// Held-out perplexity of the closed forms in a stage, as far as scored.
struct BaselinePerplexities {
  std::optional<double> none;
  std::optional<double> pi;
  std::optional<double> ntk;
  std::optional<double> yarn;
};

struct BestFactors {
  std::string stage;
  std::int64_t target_length = 0;
  bool final = false;      // false: the best so far on the search documents; the stage has not chosen yet
  std::int64_t index = 0;  // k
  std::string origin;
  RescaleFactors factors;
  std::string factors_digest;
  std::optional<double> search_perplexity;
  std::optional<double> heldout_perplexity;
  std::int64_t heldout_documents = 0;
  BaselinePerplexities baselines;
};

/// Scores of one factor set on the documents that judge a stage.
struct JudgedMethod {
  std::string origin;                       // "winner", or that of a baseline: "none", "pi", "ntk", "yarn", "yarn-m1"
  std::vector<double> nll_sum;              // [documents], nats
  std::vector<std::int64_t> scored_tokens;  // [documents]
};

/// What a finished stage is judged by.
struct JudgedStage {
  std::string stage;
  std::int64_t target_length = 0;      // tokens
  std::int64_t winner = 0;             // k
  bool final_documents = false;        // false: the held-out documents, which also chose the winner
  std::int64_t finalists = 0;          // candidates that the winner was chosen from on the held-out documents
  std::vector<std::string> documents;  // names
  /// The winner first, then baselines that were scored on all documents. Empty: the winner itself was not, because one
  /// of its scores on the final documents was not finite.
  std::vector<JudgedMethod> methods;
  std::int64_t original_length = 0;  // tokens that the checkpoint reaches by itself; 0: nothing was scored there
  /// "winner" (what an engine does there with its factors) and "none"; empty: nothing was scored there.
  std::vector<JudgedMethod> at_original_length;
  /// The winner's attention factor is the checkpoint's own, so that its factors cost nothing at the original length.
  bool keeps_attention_factor = false;
};

/// What one search document contributes to the score of a told search candidate.
struct DocumentResult {
  std::int64_t index = 0;  // k
  std::string document;    // name
  double nll_sum = 0.0;    // nats
  std::int64_t scored_tokens = 0;
};

/// The factors of a closed form in a stage, over what the checkpoint carries.
struct BaselineFactors {
  std::string origin;          // "none", "pi", "ntk", "yarn"; those with m = 1 instead have the same λ
  std::vector<double> lambda;  // [pairs]
};

/// One lease: a document that one worker scores, from the grant to the end. Another run of the same search has others.
struct LeaseSpan {
  std::string worker;
  std::string stage;
  std::string role;        // "search", "baseline": role of the first candidate that needs the evaluation
  std::string origin;      // origin of that candidate
  std::int64_t index = 0;  // k of that candidate
  std::string document;    // name
  std::int64_t granted_at = 0;
  std::int64_t ended_at = 0;
  std::string end_reason;         // empty while open, "scored", "failed", "rejected", "expired", "released"
  std::optional<double> seconds;  // of scoring, where this lease brought the result
};

/// Read-only access to a search database, also while a coordinator writes to it; each call sees one consistent state.
/// Not thread-safe. Calls throw Error when SQLite fails.
class StoreReader {
 public:
  /// Throws InputError: no such file, not one of our databases, a newer schema, or an older one (which a start of the
  /// coordinator migrates).
  explicit StoreReader(const std::filesystem::path& file);
  ~StoreReader();

  [[nodiscard]] RunInfo run() const;
  [[nodiscard]] std::vector<StageProgress> progress() const;  // in stage order
  [[nodiscard]] std::vector<KindCost> costs() const;          // by kind
  [[nodiscard]] std::vector<WorkerStatus> workers() const;    // by id

  // `stage` names one; all stages without it. Throws InputError, listing the names, for a stage that does not exist.
  [[nodiscard]] std::vector<HistoryRow> history(std::optional<std::string_view> stage = std::nullopt) const;
  /// The winner of the last finished stage; when none has finished, the best so far of the last stage with results.
  /// nullopt: no candidate told yet.
  [[nodiscard]] std::optional<BestFactors> best(std::optional<std::string_view> stage = std::nullopt) const;

  /// The parts of history()'s sums, by k, then in document order. Throws InputError as history().
  [[nodiscard]] std::vector<DocumentResult> document_results(std::string_view stage) const;
  /// None, PI, NTK and YaRN, once the stage has asked for them. Throws InputError as history().
  [[nodiscard]] std::vector<BaselineFactors> baseline_factors(std::string_view stage) const;
  /// Finished stages with a winner, in order.
  [[nodiscard]] std::vector<JudgedStage> judged_stages() const;
  /// Every lease of the database, by worker and time.
  [[nodiscard]] std::vector<LeaseSpan> timeline() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace longrope

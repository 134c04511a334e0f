#pragma once

#include "common/wire/score_result.h"
#include "evaluation/binomial_interval.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

// What `longrope evaluate` measured, and under what. evaluation_json.h writes and reads it, evaluation_csv.h and
// evaluation_markdown.h write it; schemas/evaluation_report.md. Lengths and windows are in tokens, NLL in nats.

struct EvaluatedModel {
  std::string name;
  std::string digest;
  std::int64_t original_length = 0;  // that it was trained at
  std::int64_t reached_length = 0;   // above the original length for a model that carries rope scaling

  bool operator==(const EvaluatedModel&) const = default;
};

struct EvaluatedFile {
  std::string file;  // without folders
  std::int64_t count = 0;
  std::string digest;  // SHA-256 over the hex digests of its documents, in order

  bool operator==(const EvaluatedFile&) const = default;
};

enum class RetrievalKind { kPasskey, kNeedle };
[[nodiscard]] std::string_view to_string(RetrievalKind kind);  // "passkey", "needle"

struct RetrievalFile {
  RetrievalKind kind = RetrievalKind::kPasskey;
  EvaluatedFile documents;

  bool operator==(const RetrievalFile&) const = default;
};

/// A method's factors where the model sees at most `length` tokens.
struct MethodFactors {
  std::int64_t length = 0;
  std::string digest;
  double attention_factor = 1.0;

  bool operator==(const MethodFactors&) const = default;
};

struct ReportedMethod {
  std::string name;                    // "base", "pi", "ntk", "yarn", "dynamic_ntk", or that of a factors file
  std::string file;                    // the factors file without folders; empty: a closed form
  std::vector<MethodFactors> factors;  // by length, ascending

  bool operator==(const ReportedMethod&) const = default;
};

struct EvaluatedDocument {
  std::string name;
  double nll_sum = 0.0;
  std::int64_t scored_tokens = 0;

  bool operator==(const EvaluatedDocument&) const = default;
};

/// What sliding windows add to a perplexity.
struct SlidingWindows {
  std::int64_t window = 0;
  std::int64_t stride = 0;   // from one window's beginning to the next
  std::int64_t windows = 0;  // of all documents, those in which a token counts
  double ppl_yarn = 0.0;     // exp of the mean over windows of their mean NLL: every window weighs the same

  bool operator==(const SlidingWindows&) const = default;
};

struct PerplexityResult {
  std::string method;
  std::int64_t length = 0;                // of each document
  std::optional<SlidingWindows> sliding;  // nullopt: one pass over the whole length
  double attention_factor = 1.0;
  // Sums over all documents.
  double nll_sum = 0.0;
  std::int64_t scored_tokens = 0;            // at least 1
  std::vector<ScoredBlock> blocks;           // block b: positions [b·kBlockTokens, (b+1)·kBlockTokens)
  std::vector<EvaluatedDocument> documents;  // at least one where an evaluation made it

  /// Every token weighs the same: `ppl_token` of `longrope score`.
  [[nodiscard]] double perplexity() const { return longrope::perplexity(nll_sum, scored_tokens); }
  bool operator==(const PerplexityResult&) const = default;
};

struct RetrievalResult {
  RetrievalKind kind = RetrievalKind::kPasskey;
  std::string method;
  std::int64_t length = 0;  // of each document
  double depth = 0.0;       // share of the filler before what is hidden, 0 to 1
  std::int64_t right = 0;
  std::int64_t answers = 0;   // at least 1
  BinomialInterval interval;  // exact 95 % interval of the accuracy

  [[nodiscard]] double accuracy() const { return static_cast<double>(right) / static_cast<double>(answers); }
  bool operator==(const RetrievalResult&) const = default;
};

/// Nothing in it depends on the time or the place of the run.
struct EvaluationReport {
  EvaluatedModel model;
  EvaluatedFile documents;
  std::vector<RetrievalFile> retrieval_files;
  std::string dtype;
  std::string angles;
  std::string device;
  std::int64_t threads = 1;
  std::vector<ReportedMethod> methods;       // in the order of the command
  std::vector<PerplexityResult> perplexity;  // one pass, then sliding windows; by method, by length
  std::vector<RetrievalResult> retrieval;    // by kind, method, length, depth

  bool operator==(const EvaluationReport&) const = default;
};

}  // namespace longrope

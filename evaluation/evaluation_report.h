#pragma once

#include "common/wire/score_result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// A method's factors where the model sees at most `length` tokens.
struct MethodFactors {
  std::int64_t length = 0;
  std::string digest;
  double attention_factor = 1.0;
};

struct ReportedMethod {
  std::string name;
  std::string file;                    // of factors, without folders; empty: a closed form
  std::vector<MethodFactors> factors;  // by length, ascending
};

struct EvaluatedDocument {
  std::string name;
  ScoreResult score;
  // Windows in which something counts, Σ of their mean NLLs in nats; one pass is one window.
  std::int64_t windows = 0;
  double window_means = 0.0;
};

struct PerplexityResult {
  std::string method;
  std::int64_t length = 0;  // tokens of each document
  std::int64_t window = 0;  // 0: one pass over the whole length
  std::int64_t stride = 0;
  double attention_factor = 1.0;
  std::vector<EvaluatedDocument> documents;  // at least one

  [[nodiscard]] EvaluatedDocument total() const;
};

enum class RetrievalKind { kPasskey, kNeedle };
[[nodiscard]] std::string_view to_string(RetrievalKind kind);  // "passkey", "needle"

struct RetrievalResult {
  RetrievalKind kind = RetrievalKind::kPasskey;
  std::string method;
  std::int64_t length = 0;  // tokens of each document
  double depth = 0.0;       // share of the filler before what is hidden
  std::int64_t right = 0;
  std::int64_t answers = 0;  // at least 1
};

struct EvaluatedFile {
  std::string file;  // without folders
  std::int64_t count = 0;
  std::string digest;  // SHA-256 over the hex digests of its documents, in order
};

struct RetrievalFile {
  RetrievalKind kind = RetrievalKind::kPasskey;
  EvaluatedFile documents;
};

/// What `longrope evaluate` found, and under what. Nothing in it depends on the time or the place of the run.
struct EvaluationReport {
  std::string model;
  std::string model_digest;
  std::int64_t original_length = 0;  // tokens
  std::int64_t reached_length = 0;   // tokens; above the original length for a model that carries rope scaling
  EvaluatedFile documents;
  std::vector<RetrievalFile> retrieval_files;
  std::string dtype;
  std::string angles;
  std::string device;
  std::int64_t threads = 1;
  std::vector<ReportedMethod> methods;
  std::vector<PerplexityResult> perplexity;  // single windows, then sliding; by method, by length
  std::vector<RetrievalResult> retrieval;    // by kind, method, length, depth
};

// schemas/evaluation_report.md. Equal reports give equal bytes.
[[nodiscard]] std::string to_json(const EvaluationReport& report);
/// A row for each table, method, length, and depth or block of kBlockTokens.
[[nodiscard]] std::string to_csv(const EvaluationReport& report);

}  // namespace longrope

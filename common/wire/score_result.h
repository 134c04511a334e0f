#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// What a worker computes for one (candidate, document). Numbers are stored and sent: never reuse one. kGradient is
/// what kScore is, and the gradient of the NLL sum with respect to the factors.
enum class EvaluationKind { kScore = 0, kGradient = 1 };
[[nodiscard]] std::string_view to_string(EvaluationKind kind);  // "score", "gradient"

/// The dtype that the model computes in. Part of the evaluation hash.
enum class ComputeDtype { kFp32 = 0, kBf16 = 1 };
[[nodiscard]] std::string_view to_string(ComputeDtype dtype);  // "fp32", "bf16"
/// Throws InputError for another text.
[[nodiscard]] ComputeDtype parse_compute_dtype(std::string_view text);

/// NLL is summed in blocks of this many positions, so that perplexity by position can be read from the database.
inline constexpr std::int64_t kBlockTokens = 4096;

struct ScoredBlock {
  double nll_sum = 0.0;  // nats
  std::int64_t scored_tokens = 0;

  bool operator==(const ScoredBlock&) const = default;
};

/// Teacher-forced NLL of one document under one factor set: position t >= 1 is scored given all before it.
struct ScoreResult {
  double nll_sum = 0.0;  // nats, fp64 sum over blocks in order
  std::int64_t scored_tokens = 0;
  std::vector<ScoredBlock> blocks;     // block b: positions [b·kBlockTokens, (b+1)·kBlockTokens)
  double seconds = 0.0;                // time spent computing
  std::int64_t peak_memory_bytes = 0;  // most memory while it was computed
  /// EvaluationKind::kGradient, else empty: of nll_sum, with respect to ln λ of each pair, then to ln m; [pairs + 1].
  std::vector<double> gradient = {};

  /// Whether both have the same NLL and gradient, whatever time and memory they took.
  [[nodiscard]] bool same_result(const ScoreResult& other) const {
    return nll_sum == other.nll_sum && scored_tokens == other.scored_tokens && blocks == other.blocks &&
           gradient == other.gradient;
  }
};

/// Adds a document's result to a total: sums, blocks and seconds add up, the peak is the highest; not the gradient.
void add_result(const ScoreResult& result, ScoreResult& total);
/// exp(nll_sum / scored_tokens); scored_tokens >= 1.
[[nodiscard]] double perplexity(double nll_sum, std::int64_t scored_tokens);

/// Why an evaluation gave no result (schemas/wire_format.md tabulates meaning and retry). Numbers are never reused.
enum class EvaluationError {
  kNonFinite = 1,  // NaN or Inf NLL
  kOutOfMemory = 2,
  kBadDocument = 3,  // token outside the vocabulary, too short
  kBadFactors = 4,
  kInternal = 5,
};
[[nodiscard]] std::string_view to_string(EvaluationError error);

/// What a correct result of an evaluation is known to have.
struct ExpectedResult {
  std::int64_t scored_tokens = 0;
  std::int64_t length = 0;        // tokens that the document is cut to
  std::size_t gradient_size = 0;  // pairs + 1 for kGradient
};
/// Checks a result that a worker sent. Returns the rule it breaks with the value, or an empty string for a result that
/// can be correct.
[[nodiscard]] std::string why_rejected(const ScoreResult& result, const ExpectedResult& expected);

}  // namespace longrope

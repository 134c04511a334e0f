#pragma once

#include "common/documents/documents.h"
#include "common/rope/factor_gradient.h"
#include "common/wire/score_result.h"
#include "worker/model/phase_clock.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace longrope {

/// What is measured on a document. With each of them only the tokens count that the document's mask counts, so needle
/// perplexity (spec §6.3) and LongPPL (spec §6.4) are kPerplexity of masked documents.
enum class FitnessKind {
  kPerplexity,  // one forward pass over the whole length (spec §6.1)
  kSliding,     // windows of the document (spec §6.2)
  kAccuracy,    // one pass; an answer is a run of masked tokens, right when each is the likeliest token (spec §11.2)
};
[[nodiscard]] std::string_view to_string(FitnessKind kind);  // "perplexity", "sliding", "accuracy"
[[nodiscard]] FitnessKind parse_fitness_kind(std::string_view text);

struct Fitness {
  FitnessKind kind = FitnessKind::kPerplexity;
  // kSliding only.
  std::int64_t window = 0;         // tokens of one forward pass, its first included
  std::int64_t stride = 0;         // tokens between the beginnings of windows
  bool repeat_first_token = true;  // each window begins with the document's first token: its BOS
};

/// One forward pass over positions [begin, end) of a document, of which [first_scored, end) may count.
struct Pass {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t first_scored = 0;

  bool operator==(const Pass&) const = default;
};

/// The passes over `length` tokens, in order. Every position from 1 on is scored in exactly one: in the first window
/// that holds it.
[[nodiscard]] std::vector<Pass> passes(const Fitness& fitness, std::int64_t length);

/// Positions of `pass` that count: those from first_scored on that the mask, if any, counts.
[[nodiscard]] std::vector<std::int64_t> scored_positions(const Document& document, const Pass& pass);

/// Throws InputError unless 1 <= stride < window <= length, where there are windows.
void require_windows(const Fitness& fitness, std::int64_t length);
/// Throws InputError unless `length` tokens of the document can be measured: as require_scorable and require_windows;
/// accuracy needs a mask whose answers end within `length`.
void require_measurable(const Fitness& fitness, const Document& document, std::int64_t length, std::int64_t vocabulary);

struct FitnessResult {
  ScoreResult score;  // perplexity() of it is the token-weighted one, `ppl_token`
  /// Windows in which something counts, and Σ of their mean NLLs in nats: `ppl_yarn` = exp(Σ / windows), unweighted.
  std::int64_t windows = 0;
  double window_means = 0.0;
  std::int64_t answers = 0;  // kAccuracy only
  std::int64_t right_answers = 0;
  std::optional<FactorGradient> gradient;  // only of PerplexityScorer::differentiate()
  PhaseTotals phases{};                    // zero unless ScorerOptions::time_phases
};

/// Throws Error, naming document, length and factors, for an NLL that is NaN or infinite.
void require_finite(const FitnessResult& result, const Document& document, std::int64_t length,
                    std::string_view factors);

/// Scores of the tokens that count, in position order.
struct ScoredTokens {
  std::vector<std::int64_t> positions;
  std::vector<float> nll;          // nats
  std::vector<std::uint8_t> hits;  // 1 where the token is the likeliest one
};

/// Adds the mean NLL of a window whose scores are the last `count` of `scored`.
void add_window(const ScoredTokens& scored, std::size_t count, FitnessResult& result);
/// Sums and blocks of the first `length` tokens, in fp64 and position order: no tile or thread changes a bit.
void add_up(const ScoredTokens& scored, std::int64_t length, ScoreResult& result);
/// Counts the answers: runs of consecutive `positions` (ascending), right when every one of their `hits` is not 0.
void count_answers(std::span<const std::int64_t> positions, std::span<const std::uint8_t> hits, FitnessResult& result);

}  // namespace longrope

#pragma once

#include "common/documents/documents.h"
#include "common/wire/score_result.h"
#include "tests/worker/reference_transformer.h"

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <vector>

namespace longrope {

/// A shape, a document and factors that a scorer and the double-precision reference agree on.
struct ScoringCase {
  const char* name;
  ReferenceShape shape;
  std::int64_t length = 70;
  std::int64_t n_hat = 0;
  double attention = 1.0;
  bool masked = false;
  bool sliding_window = false;  // the scorer's option
};
inline std::ostream& operator<<(std::ostream& out, const ScoringCase& test) { return out << test.name; }

/// A document of `length` tokens; where the case is masked, every third counts.
inline Document document_of(const ScoringCase& test, std::int64_t length) {
  Document document = random_document(length, test.shape.vocabulary, 7);
  if (!test.masked) return document;
  document.scored.resize(document.tokens.size());
  for (std::size_t position = 0; position < document.scored.size(); position += 3) document.scored[position] = 1;
  return document;
}

inline RescaleFactors factors_for(const ScoringCase& test) {
  const double rotary_dim = static_cast<double>(test.shape.head_dim) * test.shape.partial_rotary_factor;
  return rising_factors(static_cast<std::size_t>(rotary_dim) / 2, 8.0, test.n_hat, test.attention);
}

/// Sums of the reference, with the contract's rule of what counts.
inline ScoreResult expected_score(const ReferenceTransformer& reference, const RescaleFactors& factors,
                                  const Document& document, std::int64_t length) {
  const std::vector<double> nll = reference.token_nll(factors, document.tokens, length);
  ScoreResult result;
  result.blocks.resize(static_cast<std::size_t>((length + kBlockTokens - 1) / kBlockTokens));
  for (std::size_t position = 1; position < nll.size(); ++position) {
    if (!document.scored.empty() && document.scored[position] == 0) continue;
    ScoredBlock& block = result.blocks[position / static_cast<std::size_t>(kBlockTokens)];
    block.nll_sum += nll[position];
    ++block.scored_tokens;
    result.nll_sum += nll[position];
    ++result.scored_tokens;
  }
  return result;
}

}  // namespace longrope

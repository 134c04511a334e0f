#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace longrope {

/// One document's share of a token-weighted mean NLL.
struct DocumentNll {
  double nll_sum = 0.0;            // nats
  std::int64_t scored_tokens = 0;  // > 0
};

struct PerplexityInterval {
  double low = 0.0;
  double high = 0.0;
};

/// t with P(|T| <= t) = 0.95 for Student's t of `degrees` >= 1 degrees of freedom: 12.706 for 1, 1.96 for many.
/// Exact to 1e-4.
[[nodiscard]] double student_t_95(std::int64_t degrees);

/// The 95 % interval of perplexity: exp of that of the mean NLL over documents like these D. The mean m = Σ nll / Σ
/// tokens is a ratio of sums, so its standard error is that of a ratio estimator (Cochran, Sampling Techniques, §2.11):
/// sqrt(D / (D − 1) · Σ (nll_d − m · tokens_d)²) / Σ tokens, times Student's t of D − 1 degrees. It says how far the
/// figure would move with other documents; candidates are compared on the same ones, which is much sharper.
/// nullopt: fewer than two documents.
[[nodiscard]] std::optional<PerplexityInterval> perplexity_interval(const std::vector<DocumentNll>& documents);

}  // namespace longrope

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace longrope {

/// One document's share of a token-weighted mean NLL; or of the difference of two methods' means on the same documents,
/// where `nll_sum` is the difference of their sums and may be negative.
struct DocumentNll {
  double nll_sum = 0.0;            // nats
  std::int64_t scored_tokens = 0;  // > 0
};

struct MeanNll {
  double mean = 0.0;                 // nats per token, Σ nll / Σ tokens
  std::optional<double> half_width;  // of the 95 % interval; nullopt: fewer than two documents
};

/// t with P(|T| <= t) = 0.95 for Student's t of `degrees` >= 1 degrees of freedom: 12.706 for 1, 1.96 for many.
[[nodiscard]] double student_t_95(std::int64_t degrees);

/// The mean over D >= 1 documents, with its 95 % interval over documents like these. The mean m is a ratio of sums, so
/// its standard error is that of a ratio estimator (Cochran, Sampling Techniques, §2.11): sqrt(D / (D − 1) · Σ (nll_d −
/// m · tokens_d)²) / Σ tokens, times Student's t of D − 1 degrees.
[[nodiscard]] MeanNll mean_nll(const std::vector<DocumentNll>& documents);

}  // namespace longrope

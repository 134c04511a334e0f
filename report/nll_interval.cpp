#include "report/nll_interval.h"

#include <cmath>

namespace longrope {

std::optional<PerplexityInterval> perplexity_interval(const std::vector<DocumentNll>& documents) {
  if (documents.size() < 2) return std::nullopt;
  const MeanNll nll = mean_nll(documents);
  return PerplexityInterval{std::exp(nll.mean - *nll.half_width), std::exp(nll.mean + *nll.half_width)};
}

}  // namespace longrope

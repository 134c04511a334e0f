#pragma once

#include "evaluation/mean_nll.h"

#include <optional>
#include <vector>

namespace longrope {

struct PerplexityInterval {
  double low = 0.0;
  double high = 0.0;
};

/// The 95 % interval of perplexity: exp of that of the mean NLL over documents like these (mean_nll.h). It says how far
/// the figure would move with other documents; candidates are compared on the same ones, which is much sharper.
/// nullopt: fewer than two documents.
[[nodiscard]] std::optional<PerplexityInterval> perplexity_interval(const std::vector<DocumentNll>& documents);

}  // namespace longrope

#include "coordinator/search/spaces/isotonic_projection.h"

#include "common/error.h"

#include <fmt/format.h>

#include <cmath>
#include <cstddef>

namespace longrope {
namespace {

/// Neighbours that share one value of the result.
struct Pool {
  double mean;
  double weight;
  std::size_t size;
};

void require_usable(const std::vector<double>& values, const std::vector<double>& weights) {
  if (values.size() != weights.size()) {
    throw InputError(
        fmt::format("there must be one weight for each value: {} weights, {} values", weights.size(), values.size()));
  }
  for (std::size_t index = 0; index < values.size(); ++index) {
    if (!std::isfinite(values[index])) {
      throw InputError(fmt::format("value must be finite: entry {} is {}", index, values[index]));
    }
    if (!std::isfinite(weights[index]) || weights[index] <= 0.0) {
      throw InputError(fmt::format("weight must be finite and positive: entry {} is {}", index, weights[index]));
    }
  }
}

}  // namespace

std::vector<double> isotonic_projection(const std::vector<double>& values, const std::vector<double>& weights) {
  require_usable(values, weights);
  std::vector<Pool> pools;
  for (std::size_t index = 0; index < values.size(); ++index) {
    Pool last{.mean = values[index], .weight = weights[index], .size = 1};
    while (!pools.empty() && pools.back().mean > last.mean) {
      const Pool& before = pools.back();
      const double weight = before.weight + last.weight;
      // lerp stays between both means, which a quotient of rounded sums need not.
      last = {.mean = std::lerp(before.mean, last.mean, last.weight / weight),
              .weight = weight,
              .size = before.size + last.size};
      pools.pop_back();
    }
    pools.push_back(last);
  }
  std::vector<double> projected;
  projected.reserve(values.size());
  for (const Pool& pool : pools) projected.insert(projected.end(), pool.size, pool.mean);
  return projected;
}

}  // namespace longrope

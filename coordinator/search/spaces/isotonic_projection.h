#pragma once

#include <vector>

namespace longrope {

/// The non-decreasing x that minimises Σ weights[i]·(x[i] − values[i])², by pooling adjacent violators in linear time;
/// exact up to the rounding of one weighted mean for each pool. Values that do not fall come back bit for bit, and the
/// result lies within the range of `values`. Clamping it to [low, high] gives the minimiser under those bounds too.
/// Throws InputError for two lengths, a value that is not finite or a weight that is not finite and positive.
[[nodiscard]] std::vector<double> isotonic_projection(const std::vector<double>& values,
                                                      const std::vector<double>& weights);

}  // namespace longrope

#pragma once

#include <cstdint>

namespace longrope {

struct BinomialInterval {
  double low = 0.0;
  double high = 1.0;

  bool operator==(const BinomialInterval&) const = default;
};

/// The exact (Clopper–Pearson) 95 % interval of the probability of success after `successes` of `trials`: 9 of 10 give
/// [0.555, 0.997]. 0 <= successes <= trials, trials >= 1.
[[nodiscard]] BinomialInterval binomial_interval(std::int64_t successes, std::int64_t trials);

}  // namespace longrope

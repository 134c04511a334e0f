#include "evaluation/binomial_interval.h"

#include <cmath>

namespace longrope {
namespace {

constexpr double kTail = 0.025;
constexpr int kBisections = 50;  // 2^-50 of [0, 1]

/// P(at least `successes` of `trials`) for 0 < probability < 1.
double at_least(std::int64_t successes, std::int64_t trials, double probability) {
  double sum = 0.0;
  const auto n = static_cast<double>(trials);
  for (std::int64_t count = successes; count <= trials; ++count) {
    const auto k = static_cast<double>(count);
    sum += std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0) + k * std::log(probability) +
                    (n - k) * std::log1p(-probability));
  }
  return sum;
}

/// The probability at which P(at least `successes`), which rises with it, is `tail`.
double probability_of_tail(std::int64_t successes, std::int64_t trials, double tail) {
  double low = 0.0;
  double high = 1.0;
  for (int step = 0; step < kBisections; ++step) {
    const double middle = 0.5 * (low + high);
    (at_least(successes, trials, middle) < tail ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace

BinomialInterval binomial_interval(std::int64_t successes, std::int64_t trials) {
  BinomialInterval interval;
  if (successes > 0) interval.low = probability_of_tail(successes, trials, kTail);
  if (successes < trials) interval.high = probability_of_tail(successes + 1, trials, 1.0 - kTail);
  return interval;
}

}  // namespace longrope

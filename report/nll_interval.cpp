#include "report/nll_interval.h"

#include <array>
#include <cmath>

namespace longrope {

double student_t_95(std::int64_t degrees) {
  constexpr std::array<double, 10> kFewDegrees = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706,
                                                  2.4469,  2.3646, 2.3060, 2.2622, 2.2281};
  if (degrees <= static_cast<std::int64_t>(kFewDegrees.size())) {
    return kFewDegrees.at(static_cast<std::size_t>(degrees - 1));
  }
  // Cornish–Fisher expansion about the normal quantile (Abramowitz and Stegun 26.7.5).
  const double z = 1.959963984540054;
  const double z2 = z * z;
  const auto n = static_cast<double>(degrees);
  const double first = z * (z2 + 1.0) / 4.0;
  const double second = z * ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0;
  const double third = z * (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0;
  const double fourth = z * ((((79.0 * z2 + 776.0) * z2 + 1482.0) * z2 - 1920.0) * z2 - 945.0) / 92160.0;
  return z + (first + (second + (third + fourth / n) / n) / n) / n;
}

std::optional<PerplexityInterval> perplexity_interval(const std::vector<DocumentNll>& documents) {
  if (documents.size() < 2) return std::nullopt;
  double nll_sum = 0.0;
  double tokens = 0.0;
  for (const DocumentNll& document : documents) {
    nll_sum += document.nll_sum;
    tokens += static_cast<double>(document.scored_tokens);
  }
  const double mean = nll_sum / tokens;
  double squares = 0.0;
  for (const DocumentNll& document : documents) {
    const double error = document.nll_sum - mean * static_cast<double>(document.scored_tokens);
    squares += error * error;
  }
  const auto count = static_cast<double>(documents.size());
  const double half_width = student_t_95(static_cast<std::int64_t>(documents.size()) - 1) *
                            std::sqrt(count / (count - 1.0) * squares) / tokens;
  return PerplexityInterval{std::exp(mean - half_width), std::exp(mean + half_width)};
}

}  // namespace longrope

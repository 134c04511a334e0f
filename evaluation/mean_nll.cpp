#include "evaluation/mean_nll.h"

#include <boost/math/distributions/students_t.hpp>

#include <cmath>

namespace longrope {

double student_t_95(std::int64_t degrees) {
  constexpr double kTail = 0.025;
  return quantile(complement(boost::math::students_t(static_cast<double>(degrees)), kTail));
}

MeanNll mean_nll(const std::vector<DocumentNll>& documents) {
  double nll_sum = 0.0;
  double tokens = 0.0;
  for (const DocumentNll& document : documents) {
    nll_sum += document.nll_sum;
    tokens += static_cast<double>(document.scored_tokens);
  }
  MeanNll result;
  result.mean = nll_sum / tokens;
  if (documents.size() < 2) return result;
  double squares = 0.0;
  for (const DocumentNll& document : documents) {
    const double error = document.nll_sum - result.mean * static_cast<double>(document.scored_tokens);
    squares += error * error;
  }
  const auto count = static_cast<double>(documents.size());
  result.half_width = student_t_95(static_cast<std::int64_t>(documents.size()) - 1) *
                      std::sqrt(count / (count - 1.0) * squares) / tokens;
  return result;
}

}  // namespace longrope

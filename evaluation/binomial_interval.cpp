#include "evaluation/binomial_interval.h"

#include <boost/math/distributions/binomial.hpp>

namespace longrope {

BinomialInterval binomial_interval(std::int64_t successes, std::int64_t trials) {
  using Binomial = boost::math::binomial;
  constexpr double kTail = 0.025;
  const auto n = static_cast<double>(trials);
  const auto k = static_cast<double>(successes);
  return {Binomial::find_lower_bound_on_p(n, k, kTail), Binomial::find_upper_bound_on_p(n, k, kTail)};
}

}  // namespace longrope

#include "evaluation/binomial_interval.h"

#include <gtest/gtest.h>

#include <cmath>

namespace longrope {
namespace {

TEST(BinomialIntervalTest, AgreesWithPublishedValues) {
  const BinomialInterval nine_of_ten = binomial_interval(9, 10);  // "9/10 = [55 %, 99.7 %]"
  EXPECT_NEAR(nine_of_ten.low, 0.5550, 5e-5);
  EXPECT_NEAR(nine_of_ten.high, 0.9975, 5e-5);
}

TEST(BinomialIntervalTest, NoneAndAllHaveTheClosedForm) {
  for (const std::int64_t trials : {1, 7, 50}) {
    const double end = std::pow(0.025, 1.0 / static_cast<double>(trials));
    EXPECT_EQ(binomial_interval(0, trials).low, 0.0);
    EXPECT_NEAR(binomial_interval(0, trials).high, 1.0 - end, 1e-12);
    EXPECT_NEAR(binomial_interval(trials, trials).low, end, 1e-12);
    EXPECT_EQ(binomial_interval(trials, trials).high, 1.0);
  }
}

}  // namespace
}  // namespace longrope

#include "evaluation/mean_nll.h"

#include <gtest/gtest.h>

#include <cmath>

namespace longrope {
namespace {

/// P(|T| <= t) for Student's t, by Simpson's rule over the density.
double share_within(double t, std::int64_t degrees) {
  constexpr int kSteps = 20000;
  const auto n = static_cast<double>(degrees);
  const double scale = std::exp(std::lgamma((n + 1.0) / 2.0) - std::lgamma(n / 2.0)) / std::sqrt(n * M_PI);
  const auto density = [&](double x) { return scale * std::pow(1.0 + x * x / n, -(n + 1.0) / 2.0); };
  double sum = density(0.0) + density(t);
  for (int step = 1; step < kSteps; ++step) sum += (step % 2 == 1 ? 4.0 : 2.0) * density(t * step / kSteps);
  return 2.0 * sum * t / kSteps / 3.0;
}

TEST(MeanNllTest, StudentsTHoldsNinetyFivePerCent) {
  for (const std::int64_t degrees : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 50, 1000}) {
    EXPECT_NEAR(share_within(student_t_95(degrees), degrees), 0.95, 1e-9) << degrees;
  }
}

TEST(MeanNllTest, DifferencesOfUnequalDocumentsHaveTheIntervalOfARatio) {
  // By hand: m = Σ nll / Σ tokens, and t = 3.182446305284263 of three degrees (published tables: 3.1824).
  const MeanNll result = mean_nll({{-3.0, 100}, {-1.0, 300}, {-2.5, 50}, {1.0, 200}});
  EXPECT_NEAR(result.mean, -0.008461538461538461, 1e-15);
  ASSERT_TRUE(result.half_width);
  EXPECT_NEAR(*result.half_width, 0.024361286195718885, 1e-12);
}

TEST(MeanNllTest, OneDocumentHasNoInterval) {
  EXPECT_DOUBLE_EQ(mean_nll({{150.0, 100}}).mean, 1.5);
  EXPECT_FALSE(mean_nll({{150.0, 100}}).half_width);
}

}  // namespace
}  // namespace longrope

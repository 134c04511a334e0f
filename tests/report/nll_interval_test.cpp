#include "report/nll_interval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

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

TEST(NllIntervalTest, StudentsTHoldsNinetyFivePerCent) {
  for (const std::int64_t degrees : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 50, 1000}) {
    EXPECT_NEAR(share_within(student_t_95(degrees), degrees), 0.95, 1e-5) << degrees;
  }
}

TEST(NllIntervalTest, DocumentsOfOneLengthGiveTheIntervalOfAMean) {
  // Means 1.0, 1.2, 1.7 of 100 tokens each: the textbook's mean ± t · s / sqrt(n).
  const std::vector<double> means = {1.0, 1.2, 1.7};
  const double mean = std::accumulate(means.begin(), means.end(), 0.0) / 3.0;
  double squares = 0.0;
  for (const double value : means) squares += (value - mean) * (value - mean);
  const double half_width = 4.302653 * std::sqrt(squares / 2.0) / std::sqrt(3.0);
  const PerplexityInterval interval = perplexity_interval({{100.0, 100}, {120.0, 100}, {170.0, 100}}).value();
  EXPECT_NEAR(std::log(interval.low), mean - half_width, 1e-4);
  EXPECT_NEAR(std::log(interval.high), mean + half_width, 1e-4);
}

TEST(NllIntervalTest, LongDocumentsCountForMore) {
  const PerplexityInterval interval = perplexity_interval({{100.0, 100}, {900.0, 300}}).value();
  EXPECT_NEAR(std::sqrt(interval.low * interval.high), std::exp(1000.0 / 400.0), 1e-9);
}

TEST(NllIntervalTest, EqualMeansHaveNoWidth) {
  const PerplexityInterval interval = perplexity_interval({{150.0, 100}, {300.0, 200}, {75.0, 50}}).value();
  EXPECT_NEAR(interval.low, std::exp(1.5), 1e-12);
  EXPECT_NEAR(interval.high, std::exp(1.5), 1e-12);
}

TEST(NllIntervalTest, OneDocumentHasNoInterval) {
  EXPECT_FALSE(perplexity_interval({{150.0, 100}}));
  EXPECT_FALSE(perplexity_interval({}));
}

}  // namespace
}  // namespace longrope

#include "report/nll_interval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace longrope {
namespace {

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

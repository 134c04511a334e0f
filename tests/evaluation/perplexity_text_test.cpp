#include "evaluation/perplexity_text.h"

#include <gtest/gtest.h>

namespace longrope {
namespace {

TEST(PerplexityText, HasFourDigitsWhateverTheSize) {
  EXPECT_EQ(perplexity_text(2.41), "2.410");
  EXPECT_EQ(perplexity_text(61.963), "61.96");
  EXPECT_EQ(perplexity_text(3020.6), "3021");
  EXPECT_EQ(perplexity_text(3020600.0), "3.02e+06");
}

}  // namespace
}  // namespace longrope

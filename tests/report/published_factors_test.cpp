#include "report/published_factors.h"

#include "common/rope/closed_form_factors.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> names(const RotaryGeometry& geometry, std::int64_t target_length) {
  std::vector<std::string> names;
  for (const PublishedFactors& found :
       published_factors(target_length, closed_form_factors("yarn", geometry, target_length).lambda)) {
    EXPECT_EQ(found.lambda.size(), geometry.pairs()) << found.name;
    names.push_back(found.name);
  }
  return names;
}

TEST(PublishedFactorsTest, ArraysOfTheSameShapeAndLengthAreFound) {
  const RotaryGeometry llama2 = {.rotary_dim = 128, .rope_theta = 10000.0, .original_length = 4096};
  const RotaryGeometry mistral = {.rotary_dim = 128, .rope_theta = 10000.0, .original_length = 8192};
  const RotaryGeometry llama3 = {.rotary_dim = 128, .rope_theta = 500000.0, .original_length = 8192};
  EXPECT_THAT(names(llama2, 131072), ElementsAre("ft_la2_128k"));
  EXPECT_THAT(names(llama2, 2097152), ElementsAre("2048k_la2_128k", "2048k_la2_256k"));
  EXPECT_THAT(names(mistral, 262144), ElementsAre("256k_mis_128k", "ft_mis_256k"));
  EXPECT_THAT(names(llama3, 131072), ElementsAre("Llama-3-8B LongRoPE2 (Microsoft nnScaler example)"));
}

TEST(PublishedFactorsTest, FactorsAreThoseOfTheFixture) {
  const RotaryGeometry llama2 = {.rotary_dim = 128, .rope_theta = 10000.0, .original_length = 4096};
  const auto found = published_factors(131072, closed_form_factors("yarn", llama2, 131072).lambda);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].lambda,
            load_published_factors("longrope_paper_llama2_mistral.json")["arrays"]["ft_la2_128k"]["factors"]
                .get<std::vector<double>>());
}

TEST(PublishedFactorsTest, OtherShapesAndLengthsHaveNone) {
  const RotaryGeometry llama2 = {.rotary_dim = 128, .rope_theta = 10000.0, .original_length = 4096};
  EXPECT_THAT(names(llama2, 131073), IsEmpty());
  EXPECT_THAT(names({.rotary_dim = 128, .rope_theta = 500000.0, .original_length = 4096}, 131072), IsEmpty());
  EXPECT_THAT(names({.rotary_dim = 16, .rope_theta = 10000.0, .original_length = 512}, 4096), IsEmpty());
  EXPECT_THAT(published_factors(131072, {}), IsEmpty());
}

}  // namespace
}  // namespace longrope

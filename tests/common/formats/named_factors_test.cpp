#include "common/formats/named_factors.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::Each;

constexpr std::int64_t kOriginal = 4096;
constexpr std::int64_t kReached = 8192;

/// A model of 4 pairs that carries scaling: up to the original length λ = 1, beyond it λ = 2, m = 1.1.
ModelDescription scaled_model() {
  ModelDescription model;
  model.name = "scaled";
  model.geometry = {.rotary_dim = 8, .rope_theta = 1e4, .original_length = kOriginal};
  const AttentionFactor attention = {AttentionPolicy::kSu, 1.1};
  model.scaling = {.type = "longrope",
                   .up_to_original = exact_factors({1.0, 1.0, 1.0, 1.0}, 0, attention),
                   .beyond_original = exact_factors({2.0, 2.0, 2.0, 2.0}, 0, attention),
                   .reached_length = kReached};
  return model;
}

TEST(NamedFactorsTest, NoneIsTheModelAsItIs) {
  const ModelDescription model = scaled_model();
  EXPECT_EQ(named_factors("none", "", model, kOriginal), model.scaling.up_to_original);
  EXPECT_EQ(named_factors("none", "", model, kOriginal + 1), model.scaling.beyond_original);
  EXPECT_EQ(named_factors("none", "", model, 100 * kReached), model.scaling.beyond_original);
}

TEST(NamedFactorsTest, ClosedFormsExtendFromTheLengthThatIsReached) {
  const ModelDescription model = scaled_model();
  EXPECT_EQ(named_factors("pi", "", model, kReached), model.scaling.beyond_original);
  EXPECT_THAT(named_factors("pi", "", model, 3 * kReached).lambda, Each(6.0));
  EXPECT_EQ(named_factors("pi", "", model, 3 * kReached).attention, model.scaling.beyond_original.attention);
}

TEST(NamedFactorsTest, AttentionFactorsMultiply) {
  const double yarn = attention_factor(AttentionPolicy::kYarn, 4.0, kOriginal).value;
  EXPECT_EQ(named_factors("yarn", "", scaled_model(), 4 * kReached).attention,
            (AttentionFactor{AttentionPolicy::kValue, 1.1 * yarn}));
}

TEST(NamedFactorsTest, GivenAttentionFactorIsTotal) {
  EXPECT_EQ(named_factors("pi", "1.5", scaled_model(), 4 * kReached).attention,
            (AttentionFactor{AttentionPolicy::kValue, 1.5}));
  EXPECT_EQ(named_factors("pi", "su", scaled_model(), 4 * kReached).attention,
            attention_factor(AttentionPolicy::kSu, 8.0, kOriginal));
}

TEST(NamedFactorsTest, UnscaledModelGetsThePlainClosedForm) {
  ModelDescription model = scaled_model();
  model.scaling = {.type = "default",
                   .up_to_original = exact_factors({1.0, 1.0, 1.0, 1.0}, 0, {}),
                   .beyond_original = exact_factors({1.0, 1.0, 1.0, 1.0}, 0, {}),
                   .reached_length = kOriginal};
  for (const char* const name : {"none", "pi", "ntk", "yarn", "ramp"}) {
    EXPECT_EQ(named_factors(name, "", model, 32 * kOriginal),
              closed_form_factors(name, model.geometry, 32 * kOriginal));
  }
}

TEST(NamedFactorsTest, MisspeltMethodIsRefusedByTheOneThatWasMeant) {
  try {
    (void)named_factors("yran", "", scaled_model(), kReached);
    FAIL() << "not refused";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "factors must be none, pi, ntk, yarn, ramp or a file that exists: yran; did you mean yarn?");
  }
}

}  // namespace
}  // namespace longrope

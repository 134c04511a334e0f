#include "evaluation/evaluated_methods.h"

#include "common/formats/named_factors.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace longrope {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kOriginal = 512;
constexpr std::int64_t kReached = 2048;
constexpr std::int64_t kLongest = 32 * kReached;

ModelDescription plain_model() {
  ModelDescription model;
  model.geometry = {.rotary_dim = 8, .rope_theta = 1e4, .original_length = kOriginal};
  const RescaleFactors ones = exact_factors({1.0, 1.0, 1.0, 1.0}, 0, {});
  model.scaling = {.type = "default", .up_to_original = ones, .beyond_original = ones, .reached_length = kOriginal};
  return model;
}

/// As a LongRoPE checkpoint: one table up to the original length and another beyond it, m = 1.1.
ModelDescription scaled_model() {
  ModelDescription model = plain_model();
  const AttentionFactor attention = {AttentionPolicy::kSu, 1.1};
  model.scaling = {.type = "longrope",
                   .up_to_original = exact_factors({1.0, 1.0, 1.1, 1.2}, 0, attention),
                   .beyond_original = exact_factors({1.0, 1.3, 2.9, 4.1}, 0, attention),
                   .reached_length = kReached};
  return model;
}

std::vector<std::string> names(const std::vector<EvaluatedMethod>& methods) {
  std::vector<std::string> result;
  for (const EvaluatedMethod& method : methods) result.push_back(method.name);
  return result;
}

TEST(EvaluatedMethodsTest, FilesFollowTheClosedFormsUnderTheirStems) {
  EXPECT_THAT(names(evaluated_methods({})), ElementsAre("base", "pi", "ntk", "yarn", "dynamic_ntk"));
  const std::vector<EvaluatedMethod> methods = evaluated_methods({"runs/best.json", "ft_la2_256k.csv"});
  EXPECT_THAT(names(methods), ElementsAre("base", "pi", "ntk", "yarn", "dynamic_ntk", "best", "ft_la2_256k"));
  EXPECT_EQ(methods[5].file, "runs/best.json");
}

TEST(EvaluatedMethodsTest, OneNameForTwoMethodsIsRefused) {
  EXPECT_THAT(refusal([] { (void)evaluated_methods({"a/best.json", "b/best.csv"}); }),
              AllOf(HasSubstr("names of methods must differ"), HasSubstr(": best (b/best.csv, --factors)")));
  EXPECT_THAT(refusal([] { (void)evaluated_methods({"yarn.json"}); }), HasSubstr(": yarn (yarn.json, --factors)"));
}

TEST(EvaluatedMethodsTest, WhatTheModelReachesAlreadyIsTheModelAsItIs) {
  for (const ModelDescription& model : {plain_model(), scaled_model()}) {
    for (const std::int64_t context : {std::int64_t{2}, kOriginal, kOriginal + 1, kReached}) {
      if (context > model.scaling.reached_length) continue;
      const std::string own = digest(model.own_factors(context));
      for (const EvaluatedMethod& method : evaluated_methods({})) {
        EXPECT_EQ(digest(factors_of(method, model, kLongest, context)), own) << method.name << " at " << context;
      }
    }
  }
}

TEST(EvaluatedMethodsTest, ClosedFormsExtendTheModel) {
  const ModelDescription model = scaled_model();
  for (const EvaluatedMethod& method : evaluated_methods({})) {
    if (method.name == "dynamic_ntk") continue;
    EXPECT_EQ(factors_of(method, model, kLongest, 3 * kReached),
              named_factors(method.name == "base" ? "none" : method.name, "", model, 3 * kReached));
  }
}

TEST(EvaluatedMethodsTest, DynamicNtkGrowsToTheLongestContext) {
  const EvaluatedMethod dynamic{.name = "dynamic_ntk", .file = {}};
  for (const ModelDescription& model : {plain_model(), scaled_model()}) {
    const auto reached = static_cast<double>(model.scaling.reached_length);
    const double factor = static_cast<double>(kLongest) / reached;
    const double growth = factor * (static_cast<double>(3 * kReached) / reached) - (factor - 1.0);
    const RescaleFactors factors = factors_of(dynamic, model, kLongest, 3 * kReached);
    for (std::size_t pair = 0; pair < 4; ++pair) {
      const double own = model.scaling.beyond_original.lambda[pair];
      EXPECT_NEAR(factors.lambda[pair] / (own * std::pow(growth, static_cast<double>(pair) / 3.0)), 1.0, 1e-12);
    }
    EXPECT_EQ(factors.attention.value, model.scaling.beyond_original.attention.value);
  }
}

TEST(EvaluatedMethodsTest, FilesAreTotalAtEveryLengthAndMustFit) {
  const TemporaryDirectory directory;
  const EvaluatedMethod fits{.name = "fits", .file = directory.write("fits.csv", "1\n1.5\n2\n3\n")};
  for (const std::int64_t context : {kOriginal, kLongest}) {
    EXPECT_THAT(factors_of(fits, scaled_model(), kLongest, context).lambda, ElementsAre(1.0, 1.5, 2.0, 3.0));
  }
  const EvaluatedMethod three{.name = "three", .file = directory.write("three.csv", "1\n1.5\n2\n")};
  EXPECT_THAT(refusal([&] { (void)factors_of(three, plain_model(), kLongest, kLongest); }),
              AllOf(HasSubstr("lambda must number 4: 3"), HasSubstr("three.csv")));
}

}  // namespace
}  // namespace longrope

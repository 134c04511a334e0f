#include "common/rope/closed_form_factors.h"

#include "common/rope/band_factors.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <numbers>
#include <set>
#include <string>

namespace longrope {
namespace {

using testing::Each;
using testing::HasSubstr;

constexpr double kRelative = 1e-9;
constexpr RotaryGeometry kLlama2{.rotary_dim = 128, .rope_theta = 1e4, .original_length = 4096};
constexpr RotaryGeometry kMistral{.rotary_dim = 128, .rope_theta = 1e4, .original_length = 8192};
constexpr RotaryGeometry kLlama3{.rotary_dim = 128, .rope_theta = 5e5, .original_length = 8192};

// Every key of test_vectors.json; those with a file name are tested there.
constexpr std::array<const char*, 17> kKeys = {
    "note",
    "inv_freq_d128_base1e4",
    "PI_s8_d128",
    "NTK_aware_d128",
    "YaRN_d128_base1e4_L4096_bf32_bs1",
    "YaRN_d128_base1e4_L8192_s16_bf32_bs1 (Mistral-v0.1, L0=8192)",
    "YaRN_d128_base5e5_L8192_s16 (Llama-3-8B to 128k)",
    "microsoft_search_init_d128_base1e4_L4096_s32 (arithmetic ramp, NOT YaRN)",
    "llama3_rope_d128_base5e5_factor8_L8192_lo1_hi4",
    "su_attention_factor",
    "yarn_attention_factor",
    "critical_dims (pair index)",
    "dynamic_ntk_base",
    "longrope2_llama3_ntk_below_cd33 max rel error",
    "rope_eq3_golden (YaRN s=8 lambda, d=128, base=1e4)",  // rotary_table_test.cpp
    "secondary_factors_2048k_over_ft_la2_256k",            // rescale_factors_test.cpp
    "secondary_monotone",
};

constexpr std::array<const char*, 8> kNames = {"none", "pi", "ntk", "yarn", "ramp", "mrrope-pro", "bm", "tailspline"};

const nlohmann::json& golden(const std::string& key) {
  static const nlohmann::json vectors = load_factor_fixture("test_vectors.json");
  return vectors.at(key);
}

void expect_close(const std::vector<double>& actual, const nlohmann::json& expected, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t pair = 0; pair < actual.size(); ++pair) {
    EXPECT_NEAR(actual[pair] / expected[pair].get<double>(), 1.0, kRelative) << what << ", pair " << pair;
  }
}

void expect_yarn(const RotaryGeometry& geometry, double ratio, const nlohmann::json& expected) {
  const CorrectionRange range = yarn_correction_range(geometry);
  EXPECT_EQ(range.low, expected.at("low").get<double>());
  EXPECT_EQ(range.high, expected.at("high").get<double>());
  expect_close(yarn_factors(geometry, ratio), expected.at("lambda"), "YaRN");
  if (!expected.contains("attention_factor")) return;
  EXPECT_NEAR(attention_factor(AttentionPolicy::kYarn, ratio, geometry.original_length).value,
              expected["attention_factor"].get<double>(), kRelative);
}

TEST(ClosedFormFactorsTest, EveryGoldenVectorHasATest) {
  std::set<std::string> in_file;
  const nlohmann::json vectors = load_factor_fixture("test_vectors.json");
  for (const auto& [key, value] : vectors.items()) in_file.insert(key);
  std::set<std::string> tested(kKeys.begin(), kKeys.end());
  EXPECT_EQ(in_file, tested);
}

TEST(ClosedFormFactorsTest, InverseFrequenciesMatchGolden) {
  expect_close(inverse_frequencies(kLlama2), golden("inv_freq_d128_base1e4"), "inverse frequencies");
}

TEST(ClosedFormFactorsTest, PiMatchesGolden) {
  EXPECT_THAT(pi_factors(kLlama2, 8.0), Each(golden("PI_s8_d128").get<double>()));
  EXPECT_EQ(pi_factors(kLlama2, 8.0).size(), 64U);
}

TEST(ClosedFormFactorsTest, NtkMatchesGolden) {
  for (const auto& [ratio, lambda] : golden("NTK_aware_d128").items()) {
    expect_close(ntk_factors(kLlama2, std::stod(ratio)), lambda, "NTK " + ratio);
  }
}

TEST(ClosedFormFactorsTest, YarnMatchesGolden) {
  for (const auto& [ratio, expected] : golden("YaRN_d128_base1e4_L4096_bf32_bs1").items()) {
    expect_yarn(kLlama2, std::stod(ratio), expected);
  }
  expect_yarn(kMistral, 16.0, golden("YaRN_d128_base1e4_L8192_s16_bf32_bs1 (Mistral-v0.1, L0=8192)"));
  expect_yarn(kLlama3, 16.0, golden("YaRN_d128_base5e5_L8192_s16 (Llama-3-8B to 128k)"));
}

TEST(ClosedFormFactorsTest, YarnWithoutTruncationUsesTheRealRange) {
  const CorrectionRange range = yarn_correction_range(kLlama2, {.truncate = false});
  // corr(r) = d·ln(L0 / 2πr) / (2·ln b), computed independently (Python).
  EXPECT_NEAR(range.low, 20.94448162, 1e-8);
  EXPECT_NEAR(range.high, 45.02688127, 1e-8);
}

TEST(ClosedFormFactorsTest, YarnRampOfNoWidthIsAStep) {
  const std::vector<double> lambda =
      yarn_factors(kLlama2, 4.0, {.beta_fast = 1.0, .beta_slow = 1.0, .truncate = false});
  EXPECT_EQ(lambda[45], 1.0);
  EXPECT_EQ(lambda[46], 4.0);
}

TEST(ClosedFormFactorsTest, ArithmeticRampMatchesGoldenAndIsNotYarn) {
  const std::vector<double> lambda = arithmetic_ramp_factors(kLlama2, 32.0);
  expect_close(lambda, golden("microsoft_search_init_d128_base1e4_L4096_s32 (arithmetic ramp, NOT YaRN)"), "ramp");
  EXPECT_GT(lambda[33], 2.0 * yarn_factors(kLlama2, 32.0)[33]);
}

TEST(ClosedFormFactorsTest, Llama3MatchesGolden) {
  expect_close(llama3_factors(kLlama3), golden("llama3_rope_d128_base5e5_factor8_L8192_lo1_hi4"), "llama3");
}

TEST(ClosedFormFactorsTest, AttentionFactorsMatchGolden) {
  for (const auto& [key, expected] : golden("su_attention_factor").items()) {
    double ratio = 0.0;
    long length = 0;
    ASSERT_EQ(std::sscanf(key.c_str(), "s=%lf,L0=%ld", &ratio, &length), 2) << key;
    const AttentionFactor attention = attention_factor(AttentionPolicy::kSu, ratio, length);
    EXPECT_EQ(attention.policy, AttentionPolicy::kSu);
    EXPECT_NEAR(attention.value / expected.get<double>(), 1.0, kRelative) << key;
  }
  for (const auto& [key, expected] : golden("yarn_attention_factor").items()) {
    const double ratio = std::stod(key.substr(2));
    EXPECT_NEAR(attention_factor(AttentionPolicy::kYarn, ratio, 4096).value / expected.get<double>(), 1.0, kRelative);
  }
}

TEST(ClosedFormFactorsTest, AttentionFactorIsOneWithoutExtension) {
  for (const auto policy : {AttentionPolicy::kSu, AttentionPolicy::kYarn, AttentionPolicy::kNone}) {
    EXPECT_EQ(attention_factor(policy, 1.0, 4096).value, 1.0);
    EXPECT_EQ(attention_factor(policy, 0.5, 4096).value, 1.0);
  }
  EXPECT_EQ(attention_factor(AttentionPolicy::kNone, 64.0, 4096).value, 1.0);
  EXPECT_THROW((void)attention_factor(AttentionPolicy::kValue, 2.0, 4096), InputError);
}

TEST(ClosedFormFactorsTest, CriticalPairsMatchGolden) {
  const std::map<std::string, RotaryGeometry> geometries = {
      {"LLaMA2-7B", kLlama2},
      {"Mistral-7B-v0.1 (L0=8192)", kMistral},
      {"Phi3-mini (L0=2048, LongRoPE2 paper)", {96, 1e4, 2048}},
      {"Phi3-mini (L0=4096, HF config)", {96, 1e4, 4096}},
      {"LLaMA3-8B", kLlama3},
      {"Phi-4-mini (rotary 96, L0=4096)", {96, 1e4, 4096}},
  };
  const nlohmann::json& expected = golden("critical_dims (pair index)");
  ASSERT_EQ(expected.size(), geometries.size());
  for (const auto& [name, geometry] : geometries) {
    const nlohmann::json& row = expected.at(name);
    EXPECT_EQ(critical_pair(geometry, geometry.original_length), row["d_tcd"].get<std::int64_t>()) << name;
    EXPECT_EQ(critical_pair(geometry, geometry.original_length, 10.0),
              row["d_tcd_over_10_periods"].get<std::int64_t>());
    EXPECT_EQ(critical_pair(geometry, geometry.original_length), std::ceil(row["raw"].get<double>())) << name;
  }
}

TEST(ClosedFormFactorsTest, CriticalPairIsTheFirstThatDoesNotTurnOnce) {
  const std::vector<double> frequencies = inverse_frequencies(kLlama2);
  for (const std::int64_t length : {8, 100, 4096, 50'000}) {
    const auto first = std::find_if(frequencies.begin(), frequencies.end(), [&](double frequency) {
      return 2.0 * std::numbers::pi / frequency > static_cast<double>(length);
    });
    EXPECT_EQ(critical_pair(kLlama2, length), first - frequencies.begin()) << length;
  }
  EXPECT_EQ(critical_pair(kLlama2, 1), 0);
  EXPECT_EQ(critical_pair(kLlama2, std::int64_t{1} << 40), 64);
}

TEST(ClosedFormFactorsTest, DynamicNtkBaseMatchesGolden) {
  for (const auto& [key, expected] : golden("dynamic_ntk_base").items()) {
    double factor = 0.0;
    long original = 0;
    long length = 0;
    ASSERT_EQ(std::sscanf(key.c_str(), "factor=%lf,L0=%ld,n=%ld", &factor, &original, &length), 3) << key;
    ASSERT_EQ(original, kLlama2.original_length);
    EXPECT_NEAR(dynamic_ntk_base(kLlama2, factor, length) / expected.get<double>(), 1.0, kRelative) << key;
  }
  EXPECT_EQ(dynamic_ntk_base(kLlama2, 4.0, 100), 1e4);
}

TEST(ClosedFormFactorsTest, DynamicNtkFactorsAreTheBaseChange) {
  const double base = dynamic_ntk_base(kLlama2, 4.0, 32768);
  const std::vector<double> lambda = dynamic_ntk_factors(kLlama2, 4.0, 32768);
  const std::vector<double> rescaled = inverse_frequencies({128, base, 4096});
  const std::vector<double> original = inverse_frequencies(kLlama2);
  for (std::size_t pair = 0; pair < lambda.size(); ++pair) {
    EXPECT_NEAR(original[pair] / lambda[pair] / rescaled[pair], 1.0, kRelative);
  }
}

TEST(ClosedFormFactorsTest, DynamicNtkFactorsAreThoseOfTransformers) {
  // Frequencies of transformers 5.24 (float32): rope_type dynamic, factor 2.5, head_dim 64, 512 positions, 1,000
  // tokens.
  const std::map<std::size_t, double> theirs = {
      {0, 1.0}, {1, 0.7209855318069458}, {16, 0.0053311912342906}, {31, 3.9420494431396946e-05}};
  const RotaryGeometry geometry{.rotary_dim = 64, .rope_theta = 1e4, .original_length = 512};
  const std::vector<double> lambda = dynamic_ntk_factors(geometry, 2.5, 1000);
  for (const auto& [pair, frequency] : theirs) {
    EXPECT_NEAR(inverse_frequencies(geometry)[pair] / lambda[pair] / frequency, 1.0, 1e-6) << pair;
  }
}

TEST(ClosedFormFactorsTest, DynamicNtkIsExactlyNothingUpToTheOriginalLength) {
  for (const double factor : {1.0, 1.3, 2.7, 64.1}) {  // 1.3 − 0.3 is not 1 in double precision
    EXPECT_THAT(dynamic_ntk_factors(kLlama2, factor, 100), Each(1.0)) << factor;
    EXPECT_THAT(dynamic_ntk_factors(kLlama2, factor, 4096), Each(1.0)) << factor;
    EXPECT_GT(dynamic_ntk_factors(kLlama2, factor, 4097).back(), 1.0) << factor;
  }
}

TEST(ClosedFormFactorsTest, NtkBelowCriticalMatchesTheReleasedLlama3Factors) {
  const auto released =
      load_published_factors(
          "published_factors.json")["Llama-3-8B LongRoPE2 (Microsoft nnScaler example)"]["long_factor"]
          .get<std::vector<double>>();
  const std::vector<double> lambda = ntk_below_critical(64, 33, released[33]);
  double largest_error = 0.0;
  for (std::size_t pair = 0; pair <= 33; ++pair) {
    largest_error = std::max(largest_error, std::abs(released[pair] / lambda[pair] - 1.0));
  }
  EXPECT_NEAR(largest_error, golden("longrope2_llama3_ntk_below_cd33 max rel error").get<double>(), 1e-13);
  for (std::size_t pair = 33; pair < 64; ++pair) EXPECT_EQ(lambda[pair], released[33]);
  EXPECT_THAT(ntk_below_critical(4, 0, 5.0), Each(5.0));
}

TEST(ClosedFormFactorsTest, SecondaryFactorsAreMonotoneAsPublished) {
  const auto secondary = golden("secondary_factors_2048k_over_ft_la2_256k").get<std::vector<double>>();
  EXPECT_EQ(std::ranges::is_sorted(secondary), golden("secondary_monotone").get<bool>());
  EXPECT_EQ(secondary.back(), 8.89);
}

TEST(ClosedFormFactorsTest, LengthDynamicFactorsRunFromOnesToLambda) {
  const std::vector<double> lambda = {1.0, 2.0, 33.0};
  EXPECT_EQ(length_dynamic_factors(lambda, 32.0, 32.0), lambda);
  EXPECT_THAT(length_dynamic_factors(lambda, 32.0, 1.0), Each(1.0));
  EXPECT_DOUBLE_EQ(length_dynamic_factors(lambda, 33.0, 9.0)[2], 9.0);
  EXPECT_THROW((void)length_dynamic_factors(lambda, 1.0, 1.0), InputError);
}

TEST(ClosedFormFactorsTest, NamedFormsAreThoseFormulas) {
  EXPECT_THAT(closed_form_factors("none", kLlama2, 131072).lambda, Each(1.0));
  EXPECT_EQ(closed_form_factors("pi", kLlama2, 131072).lambda, pi_factors(kLlama2, 32.0));
  EXPECT_EQ(closed_form_factors("ntk", kLlama2, 131072).lambda, ntk_factors(kLlama2, 32.0));
  EXPECT_EQ(closed_form_factors("ramp", kLlama2, 131072).lambda, arithmetic_ramp_factors(kLlama2, 32.0));
  EXPECT_EQ(closed_form_factors("mrrope-pro", kLlama2, 131072).lambda, mrrope_pro_factors(kLlama2, 32.0));
  EXPECT_EQ(closed_form_factors("bm", kLlama2, 131072).lambda, bm_factors(kLlama2, 32.0));
  EXPECT_EQ(closed_form_factors("tailspline", kLlama2, 131072).lambda, tail_spline_factors(kLlama2, 32.0));
  const RescaleFactors yarn = closed_form_factors("yarn", kLlama2, 131072);
  EXPECT_EQ(yarn.lambda, yarn_factors(kLlama2, 32.0));
  EXPECT_EQ(yarn.attention, attention_factor(AttentionPolicy::kYarn, 32.0, 4096));
  EXPECT_EQ(closed_form_factors("pi", kLlama2, 131072).attention.policy, AttentionPolicy::kNone);
  EXPECT_THAT(refusal([] { (void)closed_form_factors("linear", kLlama2, 131072); }), HasSubstr("linear"));
}

TEST(ClosedFormFactorsTest, RatioIsNotTruncatedToAnInteger) {
  EXPECT_THAT(closed_form_factors("pi", kLlama2, 6144).lambda, Each(1.5));
}

TEST(ClosedFormFactorsTest, NothingIsCompressedBelowTheOriginalLength) {
  for (const char* name : kNames) {
    for (const std::int64_t target : {1024, 4096}) {
      const RescaleFactors factors = closed_form_factors(name, kLlama2, target);
      EXPECT_THAT(factors.lambda, Each(1.0)) << name;
      EXPECT_EQ(factors.attention.value, 1.0) << name;
    }
  }
}

TEST(ClosedFormFactorsTest, NamedFormsAreMonotoneAndValid) {
  for (const char* name : kNames) {
    for (const RotaryGeometry& geometry :
         {kLlama2, kLlama3, RotaryGeometry{8, 1e4, 256}, RotaryGeometry{4, 1e4, 128}}) {
      const RescaleFactors factors = closed_form_factors(name, geometry, 8 * geometry.original_length);
      EXPECT_NO_THROW(validate(factors, geometry.pairs(), name));
      EXPECT_TRUE(std::ranges::is_sorted(factors.lambda)) << name;
      EXPECT_LE(factors.lambda.back(), 8.0 * (1 + 1e-12)) << name;
    }
  }
}

TEST(ClosedFormFactorsTest, DegenerateInputIsRefused) {
  for (const RotaryGeometry& geometry :
       {RotaryGeometry{0, 1e4, 4096}, RotaryGeometry{2, 1e4, 4096}, RotaryGeometry{7, 1e4, 4096},
        RotaryGeometry{-8, 1e4, 4096}, RotaryGeometry{8, 1.0, 4096}, RotaryGeometry{8, 1e4, 1},
        RotaryGeometry{8, std::nan(""), 4096}}) {
    EXPECT_THROW((void)closed_form_factors("ntk", geometry, 8192), InputError);
    EXPECT_THROW((void)inverse_frequencies(geometry), InputError);
  }
  EXPECT_THROW((void)pi_factors(kLlama2, 0.0), InputError);
  EXPECT_THROW((void)ntk_factors(kLlama2, std::nan("")), InputError);
  EXPECT_THROW((void)yarn_factors(kLlama2, -2.0), InputError);
  EXPECT_THROW((void)closed_form_factors("pi", kLlama2, 0), InputError);
  EXPECT_THROW((void)llama3_factors(kLlama3, {.factor = 8.0, .low_freq_factor = 4.0, .high_freq_factor = 4.0}),
               InputError);
}

}  // namespace
}  // namespace longrope

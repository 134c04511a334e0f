#include "common/rope/rotary_table.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;

constexpr RotaryGeometry kLlama2{.rotary_dim = 128, .rope_theta = 1e4, .original_length = 4096};
constexpr AttentionFactor kNoAttention{.policy = AttentionPolicy::kNone, .value = 1.0};

/// Eq. 3 in extended precision.
long double reference_angle(const RotaryGeometry& geometry, const RescaleFactors& factors, std::int64_t position,
                            std::size_t pair) {
  const long double exponent = -2.0L * static_cast<long double>(pair) / static_cast<long double>(geometry.rotary_dim);
  const long double frequency = std::pow(static_cast<long double>(geometry.rope_theta), exponent);
  const long double divisor = position < factors.n_hat ? 1.0L : static_cast<long double>(factors.lambda[pair]);
  return static_cast<long double>(position) * frequency / divisor;
}

RotaryFrequencies frequencies_of(const RescaleFactors& factors, AngleMode mode = AngleMode::kFp64) {
  return {kLlama2, factors, mode, "test"};
}

TEST(RotaryFrequenciesTest, BadFactorsAreRefusedWhenTheFrequenciesAreMade) {
  const RescaleFactors good = exact_factors(std::vector<double>(64, 1.0), 0, kNoAttention);
  RescaleFactors not_a_number = good;
  not_a_number.lambda[3] = std::numeric_limits<double>::quiet_NaN();
  RescaleFactors zero = good;
  zero.lambda[63] = 0.0;
  RescaleFactors negative_n_hat = good;
  negative_n_hat.n_hat = -1;
  RescaleFactors infinite_attention = good;
  infinite_attention.attention = {AttentionPolicy::kValue, std::numeric_limits<double>::infinity()};
  for (const AngleMode mode : {AngleMode::kFp64, AngleMode::kHfFp32}) {
    const auto message = [&](const RescaleFactors& factors) {
      return refusal([&] { (void)RotaryFrequencies(kLlama2, factors, mode, "demo.csv"); });
    };
    EXPECT_EQ(message(exact_factors(std::vector<double>(48, 1.0), 0, kNoAttention)),
              "lambda must number 64: 48 (demo.csv)");
    EXPECT_EQ(message(not_a_number), "lambda must be finite: pair 3 is nan (demo.csv)");
    EXPECT_EQ(message(zero), "lambda must be positive: pair 63 is 0 (demo.csv)");
    EXPECT_EQ(message(negative_n_hat), "n_hat must be >= 0: -1 (demo.csv)");
    EXPECT_EQ(message(infinite_attention), "attention factor must be finite and positive: inf (demo.csv)");
    EXPECT_NO_THROW((void)frequencies_of(good, mode));
  }
}

TEST(RotaryFrequenciesTest, ACopyOutlivesTheOriginal) {
  const RescaleFactors factors = exact_factors(ntk_factors(kLlama2, 4.0), 12, {AttentionPolicy::kSu, 1.08});
  auto original = std::make_unique<RotaryFrequencies>(frequencies_of(factors));
  const RotaryTable expected = rotary_table(*original, 0, 20);
  const RotaryFrequencies copy = *original;
  original.reset();
  EXPECT_EQ(rotary_table(copy, 0, 20).cos, expected.cos);
  EXPECT_EQ(rotary_table(copy, 0, 20).sin, expected.sin);
}

TEST(RotaryTableTest, MatchesEquation3GoldenValues) {
  const nlohmann::json rows =
      load_factor_fixture("test_vectors.json")["rope_eq3_golden (YaRN s=8 lambda, d=128, base=1e4)"];
  ASSERT_EQ(rows.size(), 28U);
  for (const nlohmann::json& row : rows) {
    const RescaleFactors factors =
        exact_factors(yarn_factors(kLlama2, 8.0), row["n_hat"].get<std::int64_t>(), kNoAttention);
    const auto position = row["n"].get<std::int64_t>();
    const auto pair = row["i"].get<std::size_t>();
    const RotaryFrequencies frequencies = frequencies_of(factors);
    const double angle =
        rotary_angle(std::get<RotaryAngles<double>>(frequencies.angles()), position, static_cast<std::int64_t>(pair));
    EXPECT_NEAR(angle, row["angle"].get<double>(), 1e-9 * row["angle"].get<double>()) << row;
    EXPECT_NEAR(std::cos(angle), row["cos"].get<double>(), 1e-9) << row;
    EXPECT_NEAR(std::sin(angle), row["sin"].get<double>(), 1e-9) << row;
    const RotaryTable table = rotary_table(frequencies, position, position + 1);
    EXPECT_NEAR(table.cos[pair], row["cos"].get<double>(), 6e-8) << row;  // half a float ulp of 1
    EXPECT_NEAR(table.sin[pair], row["sin"].get<double>(), 6e-8) << row;
  }
}

TEST(RotaryTableTest, AllOnesFactorsAtRatioOneMatchPlainRope) {
  const RescaleFactors ones = closed_form_factors("yarn", kLlama2, kLlama2.original_length);
  const RotaryTable table = rotary_table(frequencies_of(ones), 0, 512);
  for (std::size_t position = 0; position < 512; ++position) {
    for (std::size_t pair = 0; pair < 64; ++pair) {
      const double angle = static_cast<double>(position) * std::pow(1e4, -static_cast<double>(pair) / 64.0);
      ASSERT_EQ(table.cos[position * 64 + pair], static_cast<float>(std::cos(angle)));
      ASSERT_EQ(table.sin[position * 64 + pair], static_cast<float>(std::sin(angle)));
    }
  }
}

TEST(RotaryTableTest, Fp64AnglesStayExactAtTwoMillionTokens) {
  const RescaleFactors factors =
      exact_factors(ntk_factors(kLlama2, 512.0), 0, {AttentionPolicy::kSu, 1.3228756555322954});
  constexpr std::int64_t kBegin = 2'097'152 - 64;
  const RotaryTable table = rotary_table(frequencies_of(factors), kBegin, kBegin + 64);
  for (std::size_t cell = 0; cell < table.cos.size(); ++cell) {
    const auto position = kBegin + static_cast<std::int64_t>(cell / 64);
    const long double angle = reference_angle(kLlama2, factors, position, cell % 64);
    // Half a float ulp in [1, 2), and 2^21·2^-52 of angle.
    ASSERT_NEAR(table.cos[cell], static_cast<double>(std::cos(angle) * 1.3228756555322954L), 6.1e-8);
    ASSERT_NEAR(table.sin[cell], static_cast<double>(std::sin(angle) * 1.3228756555322954L), 6.1e-8);
  }
}

TEST(RotaryTableTest, Fp32AnglesAreOffByATenthAtTwoMillionTokens) {
  const RescaleFactors factors = exact_factors(pi_factors(kLlama2, 1.0), 0, kNoAttention);
  constexpr std::int64_t kBegin = 2'097'152 - 1024;
  const RotaryTable fp64 = rotary_table(frequencies_of(factors), kBegin, kBegin + 1024);
  const RotaryTable fp32 = rotary_table(frequencies_of(factors, AngleMode::kHfFp32), kBegin, kBegin + 1024);
  float largest = 0.0F;
  for (std::size_t cell = 0; cell < fp64.cos.size(); ++cell) {
    largest = std::max(largest, std::abs(fp64.cos[cell] - fp32.cos[cell]));
  }
  EXPECT_GT(largest, 0.1F);
  EXPECT_LT(largest, 0.3F);
}

TEST(RotaryTableTest, HfFp32TableIsThatOfTransformers) {
  const nlohmann::json expected = load_factor_fixture("hf_fp32_table.json");
  const nlohmann::json model = load_published_factors("published_factors.json")[expected["factors"].get<std::string>()];
  const RotaryGeometry geometry{.rotary_dim = model["rotary_dim"].get<std::int64_t>(),
                                .rope_theta = model["base"].get<double>(),
                                .original_length = model["original_max_position_embeddings"].get<std::int64_t>()};
  const AttentionFactor attention = attention_factor(AttentionPolicy::kSu, 32.0, geometry.original_length);
  EXPECT_NEAR(attention.value, expected["attention_factor"].get<double>(), 1e-15);
  const RescaleFactors factors = exact_factors(model["long_factor"].get<std::vector<double>>(), 0, attention);
  const RotaryFrequencies frequencies(geometry, factors, AngleMode::kHfFp32, "hf_fp32_table.json");
  const auto angles = std::get<RotaryAngles<float>>(frequencies.angles());
  for (std::size_t pair = 0; pair < frequencies.pairs(); ++pair) {
    const double inverse_frequency = expected["inverse_frequencies"][pair].get<double>();
    EXPECT_NEAR(angles.rescaled[pair], inverse_frequency, 3e-7 * inverse_frequency) << pair;  // an ulp or two
  }
  for (std::size_t row = 0; row < expected["positions"].size(); ++row) {
    const auto position = expected["positions"][row].get<std::int64_t>();
    const RotaryTable table = rotary_table(frequencies, position, position + 1);
    ASSERT_EQ(table.pairs, expected["cos"][row].size());
    for (std::size_t pair = 0; pair < table.pairs; ++pair) {
      // torch's vectorised pow, cos and sin may differ from the C library's by an ulp each, which the position
      // magnifies (seen: 9e-6 at 131,071). An fp64 table is off by 4e-4 at 4,096 already.
      constexpr double kTolerance = 1e-4;
      EXPECT_NEAR(table.cos[pair], expected["cos"][row][pair].get<double>(), kTolerance) << position << " " << pair;
      EXPECT_NEAR(table.sin[pair], expected["sin"][row][pair].get<double>(), kTolerance) << position << " " << pair;
    }
  }
}

TEST(RotaryTableTest, PositionsBelowNHatKeepTheOriginalRowsWithMagnitudeOne) {
  for (const AngleMode mode : {AngleMode::kFp64, AngleMode::kHfFp32}) {
    const RescaleFactors plain = exact_factors(std::vector<double>(64, 1.0), 0, kNoAttention);
    const RescaleFactors all = exact_factors(pi_factors(kLlama2, 8.0), 0, {AttentionPolicy::kSu, 1.118});
    RescaleFactors late = all;
    late.n_hat = 5;
    const RotaryTable original = rotary_table(frequencies_of(plain, mode), 0, 10);
    const RotaryTable rescaled = rotary_table(frequencies_of(all, mode), 0, 10);
    const RotaryTable table = rotary_table(frequencies_of(late, mode), 0, 10);
    for (std::size_t cell = 0; cell < table.cos.size(); ++cell) {
      const RotaryTable& expected = cell / 64 < 5 ? original : rescaled;
      EXPECT_EQ(table.cos[cell], expected.cos[cell]) << cell;
      EXPECT_EQ(table.sin[cell], expected.sin[cell]) << cell;
    }
  }
}

TEST(RotaryTableTest, SlicesAreRowsOfTheWholeTable) {
  const RescaleFactors factors = exact_factors(ntk_factors(kLlama2, 4.0), 12, {AttentionPolicy::kSu, 1.08});
  for (const AngleMode mode : {AngleMode::kFp64, AngleMode::kHfFp32}) {
    const RotaryTable whole = rotary_table(frequencies_of(factors, mode), 0, 40);
    const RotaryTable slice = rotary_table(frequencies_of(factors, mode), 10, 30);
    EXPECT_EQ(slice.positions, 20);
    EXPECT_TRUE(std::equal(slice.cos.begin(), slice.cos.end(), whole.cos.begin() + 10 * 64));
    EXPECT_TRUE(std::equal(slice.sin.begin(), slice.sin.end(), whole.sin.begin() + 10 * 64));
  }
}

TEST(RotaryTableTest, EmptyRangeGivesAnEmptyTable) {
  const RescaleFactors factors = exact_factors(std::vector<double>(64, 1.0), 0, kNoAttention);
  EXPECT_EQ(rotary_table(frequencies_of(factors), 7, 7).cos.size(), 0U);
}

TEST(RotaryTableTest, WrongPositionsAreRefused) {
  const RotaryFrequencies frequencies = frequencies_of(exact_factors(std::vector<double>(64, 1.0), 0, kNoAttention));
  EXPECT_THAT(refusal([&] { (void)rotary_table(frequencies, -1, 1); }), HasSubstr("-1 to 1"));
  EXPECT_THAT(refusal([&] { (void)rotary_table(frequencies, 2, 1); }), HasSubstr("2 to 1"));
  EXPECT_THAT(refusal([&] { (void)rotary_table(frequencies, 0, std::int64_t{1} << 62); }),
              HasSubstr("rotary table must fit the address space"));
}

TEST(RotaryTableTest, ModeNamesSurviveTheRoundTrip) {
  for (const auto mode : {AngleMode::kFp64, AngleMode::kHfFp32}) EXPECT_EQ(parse_angle_mode(to_string(mode)), mode);
  EXPECT_THAT(refusal([] { (void)parse_angle_mode("bf16"); }), HasSubstr("bf16"));
}

}  // namespace
}  // namespace longrope

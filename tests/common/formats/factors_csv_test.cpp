#include "common/formats/factors_csv.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string refusal_of(std::string_view text) {
  return refusal([&] { (void)parse_factors_csv(text, "factors.csv"); });
}

TEST(FactorsCsvTest, OneFactorPerLineIsRead) {
  const RescaleFactors factors = parse_factors_csv("1\n1.05\r\n 2.5e0 \n64.77", "factors.csv");
  EXPECT_THAT(factors.lambda, ElementsAre(1.0, 1.05, 2.5, 64.77));
  EXPECT_EQ(factors.n_hat, 0);
  EXPECT_EQ(factors.attention, (AttentionFactor{AttentionPolicy::kNone, 1.0}));
  EXPECT_EQ(parse_factors_csv("1\n2\n\n\n", "factors.csv").lambda.size(), 2U);
}

TEST(FactorsCsvTest, ByteOrderMarkIsNoFactor) {
  const std::string mark = "\xef\xbb\xbf";
  EXPECT_THAT(parse_factors_csv(mark + "1.5\n2\n", "factors.csv").lambda, ElementsAre(1.5, 2.0));
  EXPECT_THAT(parse_factors_csv(mark + "1.5,2\n1.5,2\n", "factors.csv").lambda, ElementsAre(1.5, 2.0));
  EXPECT_THAT(refusal_of(mark), HasSubstr("must not be empty"));
  EXPECT_THAT(refusal_of("1\n" + mark + "2\n"), HasSubstr("pair 1"));
}

TEST(FactorsCsvTest, EqualRowsOfAllLayersGiveOneArray) {
  const auto lambda = load_published_factors("longrope_paper_llama2_mistral.json")["arrays"]["ft_la2_128k"]["factors"]
                          .get<std::vector<double>>();
  std::string text;
  for (int layer = 0; layer < 32; ++layer) {
    std::string row;
    for (const double value : lambda) {
      if (!row.empty()) row += ',';
      row += nlohmann::json(value).dump();
    }
    text += row + "\n";
  }
  EXPECT_EQ(parse_factors_csv(text, "factors.csv").lambda, lambda);
  EXPECT_EQ(parse_factors_csv("1.0, 2.0, 3.0\n", "factors.csv").lambda.size(), 3U);
}

TEST(FactorsCsvTest, UnequalRowsAreRefused) {
  EXPECT_EQ(refusal_of("1,2\n1,2\n1,3\n"),
            "rows must be equal, as all layers share one lambda: pair 1 is 3 after 2 (factors.csv:3)");
}

TEST(FactorsCsvTest, RowsOfDifferentLengthsAreRefused) {
  EXPECT_THAT(refusal_of("1,2\n1\n"), HasSubstr("rows must have 2 factors as the first: 1 (factors.csv:2)"));
  EXPECT_THAT(refusal_of("1,2\n1,2,3\n"), HasSubstr("rows must have 2 factors as the first: 3 (factors.csv:2)"));
  EXPECT_THAT(refusal_of("1,2\n\n1,2\n"), HasSubstr("(factors.csv:2)"));
  EXPECT_THAT(refusal_of("1\n1,2\n"), HasSubstr("(factors.csv:2)"));
}

TEST(FactorsCsvTest, EmptyFileIsRefused) {
  for (const char* text : {"", "\n\n", " \t\r\n"}) {
    EXPECT_THAT(refusal_of(text), HasSubstr("must not be empty")) << text;
  }
}

TEST(FactorsCsvTest, NonFiniteAndNonPositiveFactorsAreRefusedWithLine) {
  EXPECT_EQ(refusal_of("1\n1\n1\nnan\n"), "lambda must be finite: pair 3 is nan (factors.csv:4)");
  EXPECT_THAT(refusal_of("1\ninf\n"), HasSubstr("lambda must be finite: pair 1 is inf (factors.csv:2)"));
  EXPECT_THAT(refusal_of("1,-Infinity\n"), HasSubstr("lambda must be finite: pair 1 is -inf (factors.csv:1)"));
  EXPECT_THAT(refusal_of("-1.5\n"), HasSubstr("lambda must be positive: pair 0 is -1.5 (factors.csv:1)"));
  EXPECT_THAT(refusal_of("0\n"), HasSubstr("lambda must be positive"));
}

TEST(FactorsCsvTest, WhatIsNotANumberIsRefused) {
  for (const char* text : {"1\n2.0x\n", "1\n2 3\n", "1\n\n2\n", "lambda\n1\n", "1,,2\n", "1,2,\n", ",1\n", "1;2\n",
                           "0x10\n", "1e999\n", "# note\n1\n", "[1, 2]", "1\n2\n\x1b[2J"}) {
    EXPECT_THAT(refusal_of(text), HasSubstr("lambda must be a number")) << text;
  }
}

TEST(FactorsCsvTest, HostileFieldIsShownShortAndEscaped) {
  const std::string message = refusal_of("\x1b[2J\xff" + std::string(1'000'000, 'x'));
  EXPECT_LT(message.size(), 300U);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST(FactorsCsvTest, ZeroByteIsNotTheEndOfTheFile) {
  EXPECT_THAT(refusal_of(std::string_view("1\n2\n\0", 5)), HasSubstr("(factors.csv:3)"));
}

TEST(FactorsCsvTest, MoreFactorsThanAnyHeadHasAreRefused) {
  std::string text;
  for (int line = 0; line < 40'000; ++line) text += "1\n";
  EXPECT_THAT(refusal_of(text), HasSubstr("at most 32768"));
}

TEST(FactorsCsvTest, FormattedFactorsReadBackBitExactly) {
  const std::vector<double> lambda = {1.0, 1.0 / 3.0 + 1.0, 2.79, 1.0299999713897705, 5e-324, 1.7976931348623157e308};
  const RescaleFactors factors = exact_factors(lambda, 0, {});
  EXPECT_EQ(parse_factors_csv(format_factors_csv(factors), "factors.csv").lambda, lambda);
  EXPECT_EQ(format_factors_csv(exact_factors({1.0, 2.79}, 0, {})), "1\n2.79\n");
}

TEST(FactorsCsvTest, AuthorsArraysAreWrittenInBothShapes) {
  const nlohmann::json arrays = load_published_factors("longrope_paper_llama2_mistral.json")["arrays"];
  ASSERT_EQ(arrays.size(), 30U);
  for (const auto& [name, array] : arrays.items()) {
    const auto lambda = array["factors"].get<std::vector<double>>();
    const RescaleFactors factors = exact_factors(lambda, /*n_hat=*/0, {});
    const std::string lines = format_factors_csv(factors);
    const std::string rows = format_factors_csv(factors, 32);
    EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 64) << name;
    EXPECT_EQ(std::count(lines.begin(), lines.end(), ','), 0) << name;
    EXPECT_EQ(std::count(rows.begin(), rows.end(), '\n'), 32) << name;
    EXPECT_EQ(std::count(rows.begin(), rows.end(), ','), 32 * 63) << name;
    for (const std::string& text : {lines, rows}) {
      EXPECT_EQ(parse_factors_csv(text, "factors.csv").lambda, lambda) << name;
    }
  }
}

TEST(FactorsCsvTest, RowsThatCouldNotBeReadBackAreNotWritten) {
  const RescaleFactors factors = exact_factors({1.0, 1.5}, /*n_hat=*/0, {});
  EXPECT_EQ(format_factors_csv(factors, 2), "1,1.5\n1,1.5\n");
  EXPECT_THAT(refusal([&] { (void)format_factors_csv(factors, 0); }),
              HasSubstr("rows must number from 1 to 2796202: 0"));
  EXPECT_THAT(refusal([&] { (void)format_factors_csv(factors, 2796203); }), HasSubstr("2796203"));
  EXPECT_THAT(refusal([&] { (void)format_factors_csv(exact_factors({1.0}, 0, {}), 2); }), HasSubstr("at least 2"));
}

}  // namespace
}  // namespace longrope

#include "evaluation/engines/engine_verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>

namespace longrope {
namespace {

using testing::HasSubstr;

EngineComparison comparison(double engine) {
  return {.document = "book-0",
          .length = 4096,
          .scored_tokens = 4095,
          .api = "the API completions at http://127.0.0.1:8000",
          .engine = engine,
          .with_factors = 1.0,
          .without_factors = 3.0,
          .tolerance = 0.25};
}

TEST(EngineVerdictTest, AnNllWithinTheToleranceOfOursWithTheFactorsIsAppliesThem) {
  for (const double engine : {0.75, 1.0, 1.1, 1.25}) EXPECT_EQ(judge(comparison(engine)), EngineVerdict::kApplies);
}

TEST(EngineVerdictTest, AnNllWithinTheToleranceOfOursWithoutTheFactorsIgnoresThem) {
  for (const double engine : {2.75, 3.0, 3.25}) EXPECT_EQ(judge(comparison(engine)), EngineVerdict::kIgnores);
}

TEST(EngineVerdictTest, WhatIsNearerToOneButBeyondTheToleranceIsNeither) {
  for (const double engine : {0.5, 1.375, 2.0, 2.625, 3.5, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(judge(comparison(engine)), EngineVerdict::kNeither) << engine;
  }
}

TEST(EngineVerdictTest, ADocumentOnWhichOursNearlyAgreeCannotTell) {
  EngineComparison close = comparison(1.0);
  close.without_factors = 1.5;  // twice the tolerance: an NLL of 1.25 would be within that of both
  EXPECT_EQ(judge(close), EngineVerdict::kCannotTell);
  close.without_factors = 1.501;
  EXPECT_EQ(judge(close), EngineVerdict::kApplies);
  close.without_factors = 0.5;
  EXPECT_EQ(judge(close), EngineVerdict::kCannotTell);
  close.without_factors = std::nan("");
  EXPECT_EQ(judge(close), EngineVerdict::kCannotTell);
}

TEST(EngineVerdictTest, TextSaysWhatWasMeasuredAndTheVerdictInASentence) {
  EXPECT_EQ(verdict_text(comparison(1.125)),
            "4,095 of the first 4,096 tokens of book-0, asked by the API completions at http://127.0.0.1:8000\n"
            "NLL per token: engine 1.1250, ours 1.0000 with the factors, 3.0000 without\n"
            "The engine applies the factors: its NLL is within 0.25 of ours with them.\n");
  EXPECT_THAT(verdict_text(comparison(3.0)), HasSubstr("The engine ignores the factors"));
  EXPECT_THAT(verdict_text(comparison(2.0)), HasSubstr("The engine does neither"));
  EngineComparison close = comparison(1.0);
  close.without_factors = 1.0;
  EXPECT_THAT(verdict_text(close), HasSubstr("This document cannot tell: our own NLLs must differ by more than 0.5"));
}

TEST(EngineVerdictTest, JsonHasTheNumbersUnrounded) {
  const nlohmann::ordered_json json = verdict_json(comparison(1.125));
  EXPECT_EQ(json["verdict"], "applies");
  EXPECT_EQ(json["engine_nll"], 1.125);
  EXPECT_EQ(json["nll_with_factors"], 1.0);
  EXPECT_EQ(json["nll_without_factors"], 3.0);
  EXPECT_EQ(json["tolerance"], 0.25);
  EXPECT_EQ(json["scored_tokens"], 4095);
  EXPECT_EQ(json["length"], 4096);
  EXPECT_EQ(json["document"], "book-0");
}

}  // namespace
}  // namespace longrope

#include "common/model/rope_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace longrope {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr double kYarnOfFour = 1.138629436111989;  // m of yarn for factor 4, transformers 5.24

std::vector<std::string> ignored(const Json& rope, std::string_view type, double attention_factor = kYarnOfFour) {
  return ignored_rope_keys(JsonObject(rope, "config.json", "rope_scaling"), type, attention_factor);
}

TEST(RopeKeysTest, KeysThatAreReadAreNotWarnedAbout) {
  const Json common = {{"rope_type", "x"},
                       {"type", "x"},
                       {"rope_theta", 1e4},
                       {"partial_rotary_factor", 1.0},
                       {"original_max_position_embeddings", 64},
                       {"finetuned", true}};
  const auto with = [&](Json rope) {
    rope.update(common);
    return rope;
  };
  EXPECT_THAT(ignored(common, "default"), IsEmpty());
  EXPECT_THAT(ignored(with({{"factor", 4.0}}), "linear"), IsEmpty());
  EXPECT_THAT(ignored(with({{"factor", 4.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}}), "llama3"),
              IsEmpty());
  EXPECT_THAT(ignored(with({{"factor", 4.0},
                            {"attention_factor", 1.0},
                            {"beta_fast", 32},
                            {"beta_slow", 1},
                            {"mscale", 1.0},
                            {"mscale_all_dim", 1.0},
                            {"truncate", true}}),
                      "yarn"),
              IsEmpty());
  EXPECT_THAT(ignored(with({{"factor", 4.0}, {"attention_factor", 1.0}, {"short_factor", {}}, {"long_factor", {}}}),
                      "longrope"),
              IsEmpty());
}

TEST(RopeKeysTest, WhatEnginesDoWithAKeyThatTransformersIgnoresIsSaid) {
  EXPECT_THAT(
      ignored({{"attn_factor", 0.8782488562869419}}, "yarn"),
      ElementsAre("rope_scaling.attn_factor (config.json) is ignored, as in transformers 4 and 5: m is 1.13863; "
                  "vLLM up to 0.25 multiplies m by it, and llama.cpp's converter writes it into the GGUF as "
                  "yarn_attn_factor (vLLM serves m = 1)"));
  EXPECT_THAT(ignored({{"extrapolation_factor", 0.5}}, "yarn"),
              ElementsAre(AllOf(HasSubstr("rope_scaling.extrapolation_factor"), HasSubstr("vLLM"),
                                HasSubstr("yarn_ext_factor"))));
  EXPECT_THAT(ignored({{"short_mscale", 1.1}, {"long_mscale", 1.2}}, "longrope"),
              ElementsAre(AllOf(HasSubstr("rope_scaling.long_mscale"), HasSubstr("m beyond the original length")),
                          AllOf(HasSubstr("rope_scaling.short_mscale"), HasSubstr("m up to the original length"))));
}

TEST(RopeKeysTest, FactorsOfOneChangeNothingInAnyEngine) {
  EXPECT_THAT(ignored({{"attn_factor", 1.0}, {"extrapolation_factor", 1}}, "yarn"), IsEmpty());
  EXPECT_THAT(ignored({{"attn_factor", nullptr}}, "yarn"), IsEmpty()) << "null counts as absent";
}

TEST(RopeKeysTest, KeysThatGiveEnginesTheSameAttentionFactorAreNotWarnedAbout) {
  // As exports for vLLM and SGLang write m = 1.25, which transformers reads as attention_factor.
  const double attn_factor = 1.25 / kYarnOfFour;
  EXPECT_THAT(ignored({{"factor", 4.0}, {"attention_factor", 1.25}, {"attn_factor", attn_factor}}, "yarn", 1.25),
              IsEmpty());
  EXPECT_THAT(ignored({{"factor", 4.0}, {"attention_factor", 1.25}, {"attn_factor", 1.01}}, "yarn", 1.25),
              ElementsAre(HasSubstr("(vLLM serves m = 1.15002)")))
      << "yarn's own times attn_factor: attention_factor does not count there";
  EXPECT_THAT(ignored({{"short_mscale", 1.25}, {"long_mscale", 1.25}}, "longrope", 1.25), IsEmpty());
}

TEST(RopeKeysTest, MisspeltKeyIsNamedWithTheOneThatWasMeant) {
  EXPECT_THAT(
      ignored({{"atention_factor", 1.0}}, "yarn"),
      ElementsAre("rope_scaling.atention_factor (config.json) is ignored, as in transformers: rope type yarn has "
                  "no such key; did you mean attention_factor?"));
  EXPECT_THAT(ignored({{"attn_factor", 0.5}}, "linear"),
              ElementsAre(AllOf(HasSubstr("rope type linear has no such key"), Not(HasSubstr("vLLM")))));
  EXPECT_THAT(ignored({{"factor", 4.0}}, "default"), ElementsAre(HasSubstr("rope type default has no such key")));
}

TEST(RopeKeysTest, HostileKeysAreCountedAndPrintable) {
  Json rope = {{"\x1b[2J" + std::string(10'000, 'x'), 1}};
  for (int key = 0; key < 100; ++key) rope["key" + std::to_string(key)] = key;
  const std::vector<std::string> sentences = ignored(rope, "yarn");
  ASSERT_EQ(sentences.size(), 9U);
  EXPECT_THAT(sentences.front(), Not(HasSubstr("\x1b")));
  EXPECT_LT(sentences.front().size(), 300U);
  EXPECT_EQ(sentences.back(), "93 more keys of rope_scaling (config.json) are ignored");
}

TEST(RopeKeysTest, ValuesOfAnotherTypeAreNoError) {
  EXPECT_THAT(ignored({{"attn_factor", "0.5"}}, "yarn"),
              ElementsAre(AllOf(HasSubstr("attn_factor"), Not(HasSubstr("serves")))));
}

}  // namespace
}  // namespace longrope

#include "common/model/rope_scaling.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::Each;
using testing::HasSubstr;
using Json = nlohmann::json;

constexpr std::int64_t kHeadDim = 128;

RopeParameters parse(const Json& config, std::int64_t head_dim = kHeadDim) {
  return parse_rope_parameters(config, "config.json", head_dim);
}

std::string refusal_of(const Json& config) {
  return refusal([&] { (void)parse(config); });
}

/// The same parameters where transformers 4 and where transformers 5 has them.
std::vector<Json> both_versions(const Json& top, const Json& rope) {
  Json version_4 = top;
  version_4["rope_scaling"] = rope;
  Json version_5 = top;
  version_5["rope_parameters"] = rope;
  version_5["rope_parameters"]["rope_theta"] = top.at("rope_theta");
  version_5.erase("rope_theta");
  return {version_4, version_5};
}

TEST(RopeScalingTest, PlainRopeIsAllOnesFromTheOriginalLength) {
  const RopeParameters rope = parse({{"max_position_embeddings", 4096}});
  EXPECT_EQ(rope.geometry.rotary_dim, kHeadDim);
  EXPECT_EQ(rope.geometry.rope_theta, 10000.0);
  EXPECT_EQ(rope.geometry.original_length, 4096);
  EXPECT_FALSE(rope.scaling.scaled());
  EXPECT_EQ(rope.scaling.reached_length, 4096);
  EXPECT_THAT(rope.scaling.up_to_original.lambda, Each(1.0));
  EXPECT_EQ(rope.scaling.beyond_original, rope.scaling.up_to_original);
}

TEST(RopeScalingTest, Llama31MatchesGoldenAndReachesItsMaximum) {
  const auto golden = load_factor_fixture("test_vectors.json")["llama3_rope_d128_base5e5_factor8_L8192_lo1_hi4"];
  for (const Json& config : both_versions({{"max_position_embeddings", 131072}, {"rope_theta", 500000.0}},
                                          {{"rope_type", "llama3"},
                                           {"factor", 8.0},
                                           {"low_freq_factor", 1.0},
                                           {"high_freq_factor", 4.0},
                                           {"original_max_position_embeddings", 8192}})) {
    const RopeParameters rope = parse(config);
    EXPECT_EQ(rope.scaling.type, "llama3");
    EXPECT_EQ(rope.geometry.original_length, 8192);
    EXPECT_EQ(rope.scaling.reached_length, 131072);
    ASSERT_EQ(rope.scaling.beyond_original.lambda.size(), golden.size());
    for (std::size_t pair = 0; pair < golden.size(); ++pair) {
      EXPECT_NEAR(rope.scaling.beyond_original.lambda[pair], golden[pair].get<double>(), 1e-9);
    }
    EXPECT_EQ(rope.scaling.beyond_original.attention.value, 1.0);
  }
}

TEST(RopeScalingTest, YarnIsMeasuredFromItsOriginalLength) {
  const RotaryGeometry geometry = {.rotary_dim = kHeadDim, .rope_theta = 1e6, .original_length = 32768};
  for (const Json& config :
       both_versions({{"max_position_embeddings", 32768}, {"rope_theta", 1e6}},
                     {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32768}})) {
    const RopeParameters rope = parse(config);
    EXPECT_EQ(rope.scaling.beyond_original.lambda, yarn_factors(geometry, 4.0));
    EXPECT_EQ(rope.scaling.beyond_original.attention, attention_factor(AttentionPolicy::kYarn, 4.0, 32768));
    EXPECT_EQ(rope.scaling.reached_length, 131072);
  }
}

TEST(RopeScalingTest, YarnOptionsAreHonoured) {
  const Json rope = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"beta_fast", 64.0}, {"beta_slow", 2}, {"truncate", false}};
  Json config = {{"max_position_embeddings", 4096}, {"rope_scaling", rope}};
  const RotaryGeometry geometry = {.rotary_dim = kHeadDim, .rope_theta = 1e4, .original_length = 4096};
  EXPECT_EQ(parse(config).scaling.beyond_original.lambda,
            yarn_factors(geometry, 4.0, {.beta_fast = 64.0, .beta_slow = 2.0, .truncate = false}));
  config["rope_scaling"]["mscale"] = 2.0;
  config["rope_scaling"]["mscale_all_dim"] = 0.5;
  EXPECT_NEAR(parse(config).scaling.beyond_original.attention.value,
              (0.2 * std::log(4.0) + 1.0) / (0.05 * std::log(4.0) + 1.0), 1e-15);
  config["rope_scaling"]["attention_factor"] = 1.25;
  EXPECT_EQ(parse(config).scaling.beyond_original.attention, (AttentionFactor{AttentionPolicy::kValue, 1.25}));
}

TEST(RopeScalingTest, LinearDividesEveryAngle) {
  const RopeParameters rope =
      parse({{"max_position_embeddings", 4096}, {"rope_scaling", {{"type", "linear"}, {"factor", 4}}}});
  EXPECT_THAT(rope.scaling.up_to_original.lambda, Each(4.0));
  EXPECT_EQ(rope.geometry.original_length, 4096);
  EXPECT_EQ(rope.scaling.reached_length, 16384);
}

TEST(RopeScalingTest, PublishedPhi4MiniHasPartialRotaryAndTwoTables) {
  const auto published = load_published_factors("published_factors.json")["Phi-4-mini-instruct"];
  const Json rope = {
      {"type", "longrope"}, {"short_factor", published["short_factor"]}, {"long_factor", published["long_factor"]}};
  const RopeParameters parameters = parse({{"max_position_embeddings", 131072},
                                           {"original_max_position_embeddings", 4096},
                                           {"partial_rotary_factor", 0.75},
                                           {"head_dim", kHeadDim},
                                           {"rope_scaling", rope}});
  EXPECT_EQ(parameters.geometry.rotary_dim, 96);
  EXPECT_EQ(parameters.geometry.original_length, 4096);
  EXPECT_EQ(parameters.scaling.reached_length, 131072);
  EXPECT_EQ(parameters.scaling.up_to_original.lambda, published["short_factor"].get<std::vector<double>>());
  EXPECT_EQ(parameters.scaling.beyond_original.lambda, published["long_factor"].get<std::vector<double>>());
  EXPECT_EQ(parameters.scaling.up_to_original.attention, attention_factor(AttentionPolicy::kSu, 32.0, 4096));
  EXPECT_EQ(parameters.scaling.beyond_original.attention, parameters.scaling.up_to_original.attention);
}

TEST(RopeScalingTest, WhatItDoesNotReadIsRefusedByName) {
  const auto with = [](const Json& rope) { return Json{{"max_position_embeddings", 4096}, {"rope_scaling", rope}}; };
  EXPECT_THAT(refusal_of(with({{"type", "dynamic"}, {"factor", 2.0}})),
              HasSubstr("rope_scaling.type must be default, linear, yarn, llama3 or longrope: \"dynamic\""));
  EXPECT_THAT(refusal_of(with({{"rope_type", "mrope"}})), HasSubstr("mrope"));
  EXPECT_THAT(refusal_of(with({{"full_attention", Json::object()}})), HasSubstr("rope parameters by layer"));
  EXPECT_THAT(refusal_of(with({{"rope_type", "linear"}})), HasSubstr("rope_scaling.factor must be given"));
  EXPECT_THAT(refusal_of(with({{"rope_type", "linear"}, {"factor", 0.5}})),
              HasSubstr("factor must be a number from 1"));
  EXPECT_THAT(refusal_of(with({{"rope_type", "llama3"}, {"factor", 8.0}})),
              HasSubstr("original_max_position_embeddings must be given with rope type llama3"));
  EXPECT_THAT(refusal_of(with({{"rope_type", "longrope"}})),
              HasSubstr("original_max_position_embeddings must be given with rope type longrope"));
  EXPECT_THAT(refusal_of(with({{"rope_type", "llama3"}, {"original_max_position_embeddings", 8192}})),
              HasSubstr("max_position_embeddings must be at least original_max_position_embeddings, 8192"));
  Json both = with({{"rope_type", "default"}});
  both["rope_parameters"] = both["rope_scaling"];
  EXPECT_THAT(refusal_of(both), HasSubstr("rope_scaling or rope_parameters: both"));
}

TEST(RopeScalingTest, DynamicNtkMultipliesWhatTheModelCarriesFromTheLengthItReaches) {
  const auto [geometry, scaling] = parse(
      {{"max_position_embeddings", 4096}, {"rope_theta", 1e4}, {"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}});
  ASSERT_EQ(scaling.reached_length, 16384);
  for (const std::int64_t length : {1000, 4096, 4097, 16384}) {
    EXPECT_EQ(extended_dynamic_ntk(geometry, scaling, 2.5, length), scaling.own_factors(geometry, length)) << length;
  }
  // λ = (1 + factor·(n / reached − 1))^(2i / (d − 2)), over the model's own, whose attention factor stays.
  const RescaleFactors extended = extended_dynamic_ntk(geometry, scaling, 2.5, 32768);
  for (std::size_t pair = 0; pair < extended.lambda.size(); ++pair) {
    const double dynamic = std::pow(3.5, 2.0 * static_cast<double>(pair) / (kHeadDim - 2.0));
    EXPECT_NEAR(extended.lambda[pair] / scaling.beyond_original.lambda[pair] / dynamic, 1.0, 1e-12) << pair;
  }
  EXPECT_EQ(extended.attention, scaling.beyond_original.attention);
}

TEST(RopeScalingTest, DynamicNtkOfAPlainModelIsTheClosedForm) {
  const auto [geometry, scaling] = parse({{"max_position_embeddings", 4096}, {"rope_theta", 1e4}});
  EXPECT_EQ(extended_dynamic_ntk(geometry, scaling, 2.5, 10000).lambda, dynamic_ntk_factors(geometry, 2.5, 10000));
  EXPECT_EQ(extended_dynamic_ntk(geometry, scaling, 2.5, 10000).attention.value, 1.0);
}

TEST(RopeScalingTest, OneKeyInTwoPlacesMustAgree) {
  Json config = {{"max_position_embeddings", 4096},
                 {"rope_theta", 1e4},
                 {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e4}}}};
  EXPECT_EQ(parse(config).geometry.rope_theta, 1e4);
  config["rope_theta"] = 2e4;
  EXPECT_THAT(refusal_of(config), HasSubstr("rope_parameters.rope_theta must be the same as at top level, 20000"));
  config.erase("rope_theta");
  config["original_max_position_embeddings"] = 1024;
  EXPECT_EQ(parse(config).geometry.original_length, 1024);
  config["rope_parameters"]["original_max_position_embeddings"] = 2048;
  EXPECT_THAT(refusal_of(config), HasSubstr("must be the same as at top level, 1024"));
}

}  // namespace
}  // namespace longrope

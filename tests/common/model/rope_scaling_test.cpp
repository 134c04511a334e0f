#include "common/model/rope_scaling.h"

#include "tests/support/factor_fixtures.h"

#include <fmt/format.h>
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
  const RopeParameters rope = parse(
      {{"max_position_embeddings", 4096}, {"rope_theta", 1e4}, {"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}});
  const RotaryGeometry& geometry = rope.geometry;
  const RopeScaling& scaling = rope.scaling;
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
  const RopeParameters rope = parse({{"max_position_embeddings", 4096}, {"rope_theta", 1e4}});
  const RotaryGeometry& geometry = rope.geometry;
  const RopeScaling& scaling = rope.scaling;
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

const std::vector<double> kLongFactors = {1.0, 1.5, 8.0, 32.0};
const std::vector<double> kShortFactors = {1.0, 1.0, 1.0, 1.25};
const AttentionFactor kSuOf32 = {.policy = AttentionPolicy::kSu, .value = 1.1902380714238083};  // and L0 4096

Json longrope_4() {
  return {{"max_position_embeddings", 131072},
          {"original_max_position_embeddings", 4096},
          {"hidden_size", 64},
          {"num_attention_heads", 8},
          {"rope_scaling", {{"type", "longrope"}, {"short_factor", kShortFactors}, {"long_factor", kLongFactors}}}};
}

Json longrope_5() {
  return {{"max_position_embeddings", 131072},
          {"head_dim", 8},
          {"rope_parameters",
           {{"rope_type", "longrope"},
            {"rope_theta", 10000.0},
            {"short_factor", kShortFactors},
            {"long_factor", kLongFactors},
            {"original_max_position_embeddings", 4096}}}};
}

/// `config` with the value at a JSON pointer; null removes it.
Json with(Json config, const char* pointer, const Json& value) {
  const Json::json_pointer at(pointer);
  if (value.is_null()) {
    config[at.parent_pointer()].erase(at.back());
  } else {
    config[at] = value;
  }
  return config;
}

LongropeTables tables_of(const Json& config) { return parse_longrope_tables(config, "config.json"); }
std::string refusal_of_tables(const Json& config) {
  return refusal([&] { (void)tables_of(config); });
}

TEST(RopeScalingTest, BothReadersAcceptTheSameConfigsAndFindTheSameFactors) {
  const std::vector<Json> configs = {
      longrope_4(),
      longrope_5(),
      with(longrope_4(), "/rope_scaling/type", "su"),
      with(with(longrope_4(), "/rope_scaling/type", nullptr), "/rope_scaling/rope_type", "longrope"),
      with(longrope_4(), "/rope_scaling/original_max_position_embeddings", 4096),
      with(longrope_4(), "/rope_scaling/factor", 8.0),
      with(longrope_5(), "/rope_parameters/factor", 8.0),
      with(longrope_5(), "/rope_parameters/attention_factor", 1.25),
      with(longrope_5(), "/original_max_position_embeddings", 4096),
      with(longrope_5(), "/rope_theta", 10000.0),
      with(longrope_4(), "/max_position_embeddings", 4096),
      with(with(longrope_4(), "/head_dim", 16), "/partial_rotary_factor", 0.5),
      with(with(longrope_5(), "/head_dim", 16), "/rope_parameters/partial_rotary_factor", 0.5),
  };
  for (const Json& config : configs) {
    SCOPED_TRACE(config.dump());
    const std::int64_t head_dim = config.value("head_dim", 8);
    const RopeParameters whole = parse(config, head_dim);
    const LongropeTables tables = tables_of(config);
    EXPECT_EQ(tables.long_factors.lambda, kLongFactors);
    EXPECT_EQ(tables.long_factors, whole.scaling.beyond_original);
    EXPECT_EQ(tables.short_factors, whole.scaling.up_to_original);
    EXPECT_EQ(tables.original_length, whole.geometry.original_length);
  }
}

TEST(RopeScalingTest, BothReadersRefuseTheSameConfigsInTheSameWords) {
  struct Case {
    Json config;
    std::string message;
  };
  const std::vector<Case> cases = {
      {with(longrope_4(), "/rope_scaling/original_max_position_embeddings", 8192),
       "rope_scaling.original_max_position_embeddings must be the same as at top level, 4096: 8192 (config.json)"},
      {with(longrope_4(), "/original_max_position_embeddings", 0),
       "original_max_position_embeddings must be an integer between 2 and 2147483648: 0 (config.json)"},
      {with(longrope_4(), "/original_max_position_embeddings", nullptr),
       "original_max_position_embeddings must be given with rope type longrope: absent (config.json)"},
      {with(longrope_4(), "/max_position_embeddings", 1024),
       "max_position_embeddings must be at least original_max_position_embeddings, 4096: 1024 (config.json)"},
      {with(longrope_4(), "/max_position_embeddings", nullptr),
       "max_position_embeddings must be given: absent (config.json)"},
      {with(longrope_4(), "/rope_parameters", longrope_5()["rope_parameters"]),
       "config must have rope_scaling or rope_parameters: both (config.json)"},
      {with(longrope_4(), "/rope_scaling", 3), "rope_scaling must be an object: 3 (config.json)"},
      {with(longrope_4(), "/rope_scaling/type", "dynamic"),
       "rope_scaling.type must be default, linear, yarn, llama3 or longrope: \"dynamic\" (config.json)"},
      {with(longrope_5(), "/rope_parameters", {{"full_attention", longrope_5()["rope_parameters"]}}),
       "rope_parameters.full_attention must be absent (rope parameters by layer are not supported): object of 5 "
       "(config.json)"},
      {with(longrope_5(), "/rope_theta", 2e4),
       "rope_parameters.rope_theta must be the same as at top level, 20000: 10000.0 (config.json)"},
      {with(longrope_5(), "/rope_parameters/rope_theta", 1.0),
       "rope_parameters.rope_theta must be a number above 1 and at most 1000000000000: 1.0 (config.json)"},
      {with(with(longrope_5(), "/rope_parameters/partial_rotary_factor", 0.5), "/partial_rotary_factor", 0.75),
       "rope_parameters.partial_rotary_factor must be the same as at top level, 0.75: 0.5 (config.json)"},
      {with(longrope_4(), "/partial_rotary_factor", 1.5),
       "partial_rotary_factor must be a number above 0 and at most 1: 1.5 (config.json)"},
      {with(longrope_4(), "/partial_rotary_factor", 0.25),
       "head_dim times partial_rotary_factor must be even and at least 4: 2 (config.json)"},
      {with(longrope_4(), "/partial_rotary_factor", 0.5),
       "lambda must number 2: 4 (rope_scaling.short_factor (config.json))"},
      {with(longrope_5(), "/rope_parameters/factor", 0.5),
       "rope_parameters.factor must be a number from 1 to 1000000: 0.5 (config.json)"},
      {with(longrope_5(), "/rope_parameters/attention_factor", -1),
       "rope_parameters.attention_factor must be a number above 0 and at most 1000: -1 (config.json)"},
      {with(longrope_4(), "/rope_scaling/long_factor", nullptr),
       "rope_scaling.long_factor must be given: absent (config.json)"},
      {with(longrope_5(), "/rope_parameters/long_factor/2", "8"),
       "rope_parameters.long_factor[2] must be a number: \"8\" (config.json)"},
      {with(longrope_5(), "/rope_parameters/long_factor/2", -8.0),
       "lambda must be positive: pair 2 is -8 (rope_parameters.long_factor (config.json))"},
      {with(longrope_5(), "/rope_parameters/short_factor", {1.0, 1.0}),
       "lambda must number 4: 2 (rope_parameters.short_factor (config.json))"},
  };
  for (const Case& test : cases) {
    EXPECT_EQ(refusal([&] { (void)parse(test.config, 8); }), test.message);
    EXPECT_EQ(refusal_of_tables(test.config), test.message);
  }
}

TEST(RopeScalingTest, LongropeHasTheAttentionFactorOfTransformers) {
  const auto attention = [](const Json& config) { return tables_of(config).long_factors.attention; };
  for (const Json& config : {longrope_4(), longrope_5()}) {
    EXPECT_EQ(attention(config).policy, kSuOf32.policy);
    EXPECT_NEAR(attention(config).value, kSuOf32.value, 1e-15);
  }
  const Json given = with(longrope_5(), "/rope_parameters/factor", 2.0);
  EXPECT_EQ(attention(with(given, "/rope_parameters/attention_factor", 1.25)),
            (AttentionFactor{AttentionPolicy::kValue, 1.25}));
}

TEST(RopeScalingTest, FactorOfLongropeDecidesAsInTransformers5AndOthersAreNamed) {
  // LlamaRotaryEmbedding.attention_scaling of transformers 5.24 for the same files; transformers 4.57 takes 32 for 8.
  constexpr double kOf8 = 1.118033988749895;
  for (const Json& config :
       {with(longrope_4(), "/rope_scaling/factor", 8.0),
        with(with(longrope_4(), "/rope_scaling/factor", 8.0), "/rope_scaling/original_max_position_embeddings", 4096),
        with(longrope_5(), "/rope_parameters/factor", 8.0)}) {
    SCOPED_TRACE(config.dump());
    const RopeParameters rope = parse(config, 8);
    EXPECT_NEAR(rope.scaling.beyond_original.attention.value, kOf8, 1e-15);
    EXPECT_EQ(tables_of(config).long_factors.attention, rope.scaling.beyond_original.attention);
    ASSERT_EQ(rope.warnings.size(), 1U);
    EXPECT_THAT(
        rope.warnings.front(),
        HasSubstr("factor (config.json) is 8, but max_position_embeddings / original_max_position_embeddings is "
                  "32: m is 1.11803 by the factor, as in transformers 5; transformers 4 and vLLM take the ratio "
                  "of the lengths and m = 1.19024"));
  }
  EXPECT_EQ(parse(with(longrope_4(), "/rope_scaling/factor", 1.0), 8).scaling.beyond_original.attention.value, 1.0);
  for (const Json& config :
       {longrope_4(), with(longrope_4(), "/rope_scaling/factor", 32.0),
        with(with(longrope_5(), "/rope_parameters/factor", 8.0), "/rope_parameters/attention_factor", 1.25)}) {
    EXPECT_TRUE(parse(config, 8).warnings.empty()) << config.dump();
  }
}

Json open_length(const char* type) {
  return {{"max_position_embeddings", 256}, {"rope_theta", 1e5}, {"rope_scaling", {{"type", type}, {"factor", 4.0}}}};
}

TEST(RopeScalingTest, OpenReachedLengthIsAssumedAloud) {
  for (const char* const type : {"linear", "yarn"}) {
    const RopeParameters rope = parse(open_length(type));
    EXPECT_EQ(rope.geometry.original_length, 256);
    EXPECT_EQ(rope.scaling.reached_length, 1024);
    EXPECT_EQ(rope.assumption,
              "the model is taken to reach 1024 tokens, 4 times max_position_embeddings, because "
              "original_max_position_embeddings is not given; if 256 is already the extended length, say "
              "--reached-length 256, or reached_length = 256 under [model] of a configuration (config.json)");
  }
  for (const Json& config : {with(open_length("linear"), "/original_max_position_embeddings", 64),
                             with(open_length("linear"), "/rope_scaling/factor", 1.0), longrope_4(),
                             Json{{"max_position_embeddings", 4096}}}) {
    EXPECT_EQ(parse(config, 8).assumption, "") << config.dump();
  }
}

TEST(RopeScalingTest, ReachedLengthThatIsSaidSettlesTheOriginalOne) {
  const auto said = [](const Json& config, std::int64_t reached) {
    return parse_rope_parameters(config, "config.json", kHeadDim, reached);
  };
  // The same model as one whose config.json says both lengths.
  const RopeParameters stated = parse(with(open_length("linear"), "/original_max_position_embeddings", 64));
  const RopeParameters linear = said(open_length("linear"), 256);
  EXPECT_EQ(linear.geometry.original_length, 64);
  EXPECT_EQ(linear.scaling.reached_length, 256);
  EXPECT_EQ(linear.scaling.beyond_original, stated.scaling.beyond_original);
  EXPECT_EQ(linear.geometry.original_length, stated.geometry.original_length);
  EXPECT_EQ(linear.assumption, "");
  EXPECT_EQ(said(open_length("linear"), 1024).geometry.original_length, 256);
  EXPECT_EQ(said(with(open_length("linear"), "/rope_scaling/factor", 3.0), 256).geometry.original_length, 85);
  // Angles stay those of transformers, whose ramp is that of max_position_embeddings.
  const RopeParameters yarn = said(open_length("yarn"), 256);
  EXPECT_EQ(yarn.geometry.original_length, 64);
  EXPECT_EQ(yarn.scaling.beyond_original, parse(open_length("yarn")).scaling.beyond_original);
  EXPECT_NE(yarn.scaling.beyond_original,
            parse(with(open_length("yarn"), "/original_max_position_embeddings", 64)).scaling.beyond_original);
}

TEST(RopeScalingTest, ReachedLengthThatContradictsTheConfigIsRefusedWithBothNumbers) {
  const auto refused = [](const Json& config, std::int64_t reached) {
    return refusal([&] { (void)parse_rope_parameters(config, "config.json", 8, reached); });
  };
  EXPECT_EQ(refused(with(open_length("linear"), "/original_max_position_embeddings", 64), 1024),
            "reached_length must be what config.json says of a model with rope type linear, 256: 1024 (config.json)");
  EXPECT_EQ(refused(longrope_4(), 4096),
            "reached_length must be what config.json says of a model with rope type longrope, 131072: 4096 "
            "(config.json)");
  EXPECT_EQ(refused({{"max_position_embeddings", 4096}}, 8192),
            "reached_length must be what config.json says of a model with rope type default, 4096: 8192 (config.json)");
  for (const std::int64_t reached : {255, 1025}) {
    EXPECT_EQ(refused(open_length("yarn"), reached),
              fmt::format("reached_length must lie between max_position_embeddings, 256, and 4 times that, 1024: {} "
                          "(config.json)",
                          reached));
  }
  EXPECT_EQ(parse_rope_parameters(longrope_4(), "config.json", 8, 131072).scaling.reached_length, 131072);
}

TEST(RopeScalingTest, TablesAreReadFromAPartOfAConfig) {
  const Json rope = {{"rope_type", "longrope"}, {"long_factor", kLongFactors}, {"attention_factor", 1.25}};
  const LongropeTables tables = tables_of({{"rope_parameters", rope}});
  EXPECT_EQ(tables.long_factors.lambda, kLongFactors);
  EXPECT_EQ(tables.long_factors.attention.value, 1.25);
  EXPECT_FALSE(tables.short_factors);
  EXPECT_FALSE(tables.original_length);
  EXPECT_EQ(refusal_of_tables(with({{"rope_parameters", rope}}, "/rope_parameters/attention_factor", nullptr)),
            "original_max_position_embeddings must be given with rope type longrope: absent (config.json)")
      << "the su rule needs it";
}

TEST(RopeScalingTest, TablesAreThoseOfLongropeOnly) {
  EXPECT_EQ(refusal_of_tables({{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}}),
            "rope_scaling.type must be longrope or su: \"yarn\" (config.json)");
  EXPECT_EQ(refusal_of_tables({{"rope_scaling", {{"long_factor", kLongFactors}}}}),
            "rope_scaling.type must be given: absent (config.json)");
  EXPECT_EQ(refusal_of_tables(with(longrope_4(), "/rope_scaling", nullptr)),
            "config must have rope_scaling or rope_parameters: neither (config.json)");
}

}  // namespace
}  // namespace longrope

#include "common/formats/engine_overrides.h"

#include "common/formats/factors_file.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;

/// As `longrope export --format vllm` writes it, with other keys around.
constexpr const char* kVllm =
    "# vllm serve my-llama --config THIS\n"
    "max-model-len: 4096\n"
    "hf-overrides: '{\"max_position_embeddings\":4096,\"original_max_position_embeddings\":512,"
    "\"rope_parameters\":{\"rope_type\":\"longrope\",\"short_factor\":[1.0,1.5],\"long_factor\":[1.0,4.0],"
    "\"attention_factor\":1.25,\"short_mscale\":1.0,\"long_mscale\":1.125}}'  \n"
    "tensor-parallel-size: 2\n";

std::string with(const std::string& from, const std::string& to) {
  std::string text = kVllm;
  return text.replace(text.find(from), from.size(), to);
}

TEST(EngineOverridesTest, BothTablesAreReadWithTheAttentionFactorsThatVllmReads) {
  const TemporaryDirectory directory;
  const auto path = directory.write("vllm.yaml", kVllm);
  const RescaleFactors factors = read_factors(path);
  EXPECT_EQ(factors.lambda, (std::vector<double>{1.0, 4.0}));
  EXPECT_EQ(factors.attention.value, 1.125);
  const auto short_factors = read_short_factors(path);
  ASSERT_TRUE(short_factors);
  EXPECT_EQ(short_factors->factors.lambda, (std::vector<double>{1.0, 1.5}));
  EXPECT_EQ(short_factors->factors.attention.value, 1.0);
  EXPECT_EQ(short_factors->max_length, 512);
}

TEST(EngineOverridesTest, WithoutMscaleTheAttentionFactorStays) {
  const nlohmann::json config =
      parse_engine_overrides(with(",\"short_mscale\":1.0,\"long_mscale\":1.125", ""), "long", "f.yaml");
  EXPECT_EQ(config["rope_parameters"]["attention_factor"], 1.25);
}

TEST(EngineOverridesTest, AMappingIsReadAsItsJson) {
  const TemporaryDirectory directory;
  const auto path = directory.write("vllm.yaml",
                                    "hf_overrides:\n  rope_parameters:\n    rope_type: longrope\n    long_factor:\n"
                                    "      - 1.0\n      - 4.0\n    attention_factor: 1.25\n    long_mscale: 1.125\n");
  EXPECT_EQ(read_factors(path).lambda, (std::vector<double>{1.0, 4.0}));
  EXPECT_EQ(read_factors(path).attention.value, 1.125);
  EXPECT_FALSE(read_short_factors(path)) << "it has none";
}

TEST(EngineOverridesTest, AxolotlHasTheAttentionFactorOfTransformers) {
  const TemporaryDirectory directory;
  const auto path = directory.write("axolotl.yaml",
                                    "base_model: my-llama\nadapter:\ndatasets:\n  - path: text.jsonl\n"
                                    "sequence_len: 4096\noverrides_of_model_config:\n  rope_scaling:\n"
                                    "    type: longrope\n    short_factor: [1.0, 1.5]\n    long_factor: [1.0, 4.0]\n"
                                    "    attention_factor: 1.25\n    long_mscale: 1.125\n"
                                    "  original_max_position_embeddings: 512\n");
  EXPECT_EQ(read_factors(path).lambda, (std::vector<double>{1.0, 4.0}));
  EXPECT_EQ(read_factors(path).attention.value, 1.25);
  const auto short_factors = read_short_factors(path);
  ASSERT_TRUE(short_factors);
  EXPECT_EQ(short_factors->factors.lambda, (std::vector<double>{1.0, 1.5}));
  EXPECT_EQ(short_factors->max_length, 512);
}

TEST(EngineOverridesTest, OnlyAKeyAtTheBeginningOfALineMakesOverrides) {
  EXPECT_TRUE(has_engine_overrides("hf-overrides: '{}'"));
  EXPECT_TRUE(has_engine_overrides("a: 1\nhf-overrides: '{}'"));
  EXPECT_TRUE(has_engine_overrides("a: 1\noverrides_of_model_config:\n"));
  EXPECT_FALSE(has_engine_overrides("1\n2\n"));
  EXPECT_FALSE(has_engine_overrides("# hf-overrides: '{}'\n"));
}

TEST(EngineOverridesTest, WhatIsNoOverrideOfFactorsIsRefusedNamingTheFile) {
  const TemporaryDirectory directory;
  for (const std::string& text :
       {std::string("hf-overrides:"), std::string("hf-overrides: '"), std::string("hf-overrides:\n  rope_theta: 1\n"),
        std::string("hf-overrides: {}"), std::string("hf-overrides: 3"), std::string("hf-overrides: '3'"),
        std::string("hf-overrides: '{'"), std::string("hf-overrides: '{\"a\": 1, \"a\": 2}'"),
        std::string("hf-overrides: '{}'\nhf-overrides: '{}'"), std::string("- 1\nhf-overrides: '{}'"),
        std::string("overrides_of_model_config:"), std::string("overrides_of_model_config: '{}'"),
        std::string("overrides_of_model_config: [1]"),
        std::string("overrides_of_model_config:\n  rope_parameters: {rope_type: longrope, long_factor: [.inf]}"),
        with("longrope", "yarn"), with("[1.0,4.0]", "[1.0,''4]"), with("[1.0,4.0]", "[1.0,-4]"),
        with("\"rope_parameters\":{", "\"rope_parameters\":[{"), with("\"long_mscale\":1.125", "\"long_mscale\":0")}) {
    const auto path = directory.write("user.yaml", text);
    EXPECT_THAT(refusal([&] { (void)read_factors(path); }), HasSubstr("user.yaml")) << text;
  }
  const auto path = directory.write("both.yaml", with("max-model-len: 4096", "overrides_of_model_config: {}"));
  EXPECT_THAT(refusal([&] { (void)read_factors(path); }),
              HasSubstr("overrides must be given once: hf-overrides and overrides_of_model_config"));
}

}  // namespace
}  // namespace longrope

#include "common/vllm_config.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/factors_file.h"
#include "tests/common/factor_fixtures.h"

namespace longrope {
namespace {

using testing::HasSubstr;

/// As `longrope export --format vllm` writes it, with other keys around.
constexpr const char* kText =
    "# vllm serve my-llama --config THIS\n"
    "max-model-len: 4096\n"
    "hf-overrides: '{\"max_position_embeddings\":4096,\"original_max_position_embeddings\":512,"
    "\"rope_parameters\":{\"rope_type\":\"longrope\",\"short_factor\":[1.0,1.5],\"long_factor\":[1.0,4.0],"
    "\"attention_factor\":1.25,\"short_mscale\":1.0,\"long_mscale\":1.125}}'  \n"
    "tensor-parallel-size: 2\n";

std::string with(const std::string& from, const std::string& to) {
  std::string text = kText;
  return text.replace(text.find(from), from.size(), to);
}

TEST(VllmConfigTest, BothTablesAreReadWithTheAttentionFactorsThatVllmReads) {
  const TemporaryDirectory directory;
  const auto path = directory.write("vllm.yaml", kText);
  const RescaleFactors factors = read_factors(path);
  EXPECT_EQ(factors.lambda, (std::vector<double>{1.0, 4.0}));
  EXPECT_EQ(factors.attention.value, 1.125);
  const auto short_factors = read_short_factors(path);
  ASSERT_TRUE(short_factors);
  EXPECT_EQ(short_factors->factors.lambda, (std::vector<double>{1.0, 1.5}));
  EXPECT_EQ(short_factors->factors.attention.value, 1.0);
  EXPECT_EQ(short_factors->max_length, 512);
}

TEST(VllmConfigTest, WithoutMscaleTheAttentionFactorStays) {
  const nlohmann::json config =
      parse_vllm_overrides(with(",\"short_mscale\":1.0,\"long_mscale\":1.125", ""), "long", "f.yaml");
  EXPECT_EQ(config["rope_parameters"]["attention_factor"], 1.25);
}

TEST(VllmConfigTest, OnlyAKeyAtTheBeginningOfALineMakesAVllmConfig) {
  EXPECT_TRUE(is_vllm_config("hf-overrides: '{}'"));
  EXPECT_TRUE(is_vllm_config("a: 1\nhf-overrides: '{}'"));
  EXPECT_FALSE(is_vllm_config("1\n2\n"));
  EXPECT_FALSE(is_vllm_config("# hf-overrides: '{}'\n"));
}

TEST(VllmConfigTest, OtherYamlAndBrokenJsonAreRefusedNamingTheFile) {
  const TemporaryDirectory directory;
  for (const std::string& text :
       {std::string("hf-overrides:"), std::string("hf-overrides: '"), std::string("hf-overrides:\n  rope_theta: 1\n"),
        std::string("hf-overrides: {}"), std::string("hf-overrides: '{}' # none"), std::string("hf-overrides: '3'"),
        std::string("hf-overrides: '{'"), std::string("hf-overrides: '{\"a\": 1, \"a\": 2}'"),
        std::string("hf-overrides: '{}'\nhf-overrides: '{}'"), with("longrope", "yarn"), with("[1.0,4.0]", "[1.0,''4]"),
        with("[1.0,4.0]", "[1.0,-4]"), with("\"rope_parameters\":{", "\"rope_parameters\":[{"),
        with("\"long_mscale\":1.125", "\"long_mscale\":0")}) {
    const auto path = directory.write("vllm.yaml", text);
    EXPECT_THAT(refusal([&] { (void)read_factors(path); }), HasSubstr("vllm.yaml")) << text;
  }
}

}  // namespace
}  // namespace longrope

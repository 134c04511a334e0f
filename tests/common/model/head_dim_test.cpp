#include "common/model/head_dim.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace longrope {
namespace {

using Json = nlohmann::json;

std::optional<std::int64_t> head_dim(const Json& config) { return read_head_dim(JsonObject(config, "config.json")); }
std::string refusal_of(const Json& config) {
  return refusal([&] { (void)head_dim(config); });
}

TEST(HeadDimTest, HeadDimThenTheArchitecturesDefaultThenTheQuotientDecides) {
  Json config = {{"hidden_size", 1024}, {"num_attention_heads", 16}};
  EXPECT_EQ(head_dim(config), 64);
  config["architectures"] = {"LlamaForCausalLM"};
  EXPECT_EQ(head_dim(config), 64);
  config["architectures"] = {"Qwen3ForCausalLM"};
  EXPECT_EQ(head_dim(config), 128);
  config["head_dim"] = 32;
  EXPECT_EQ(head_dim(config), 32);
}

TEST(HeadDimTest, PartOfAConfigHasNone) {
  EXPECT_EQ(head_dim(Json::object()), std::nullopt);
  EXPECT_EQ(head_dim({{"hidden_size", 1024}, {"architectures", {"LlamaForCausalLM"}}}), std::nullopt);
  EXPECT_EQ(head_dim({{"num_attention_heads", 16}, {"architectures", {"UnknownForCausalLM"}}}), std::nullopt);
}

TEST(HeadDimTest, UnusableNumbersAreRefusedByKey) {
  EXPECT_EQ(refusal_of({{"head_dim", 15}}), "head_dim must be even and at most 1024: 15 (config.json)");
  EXPECT_EQ(refusal_of({{"hidden_size", 97}, {"num_attention_heads", 6}}),
            "hidden_size must be a multiple of num_attention_heads, 6, without head_dim: 97 (config.json)");
  EXPECT_EQ(refusal_of({{"hidden_size", 64}, {"num_attention_heads", 0}}),
            "num_attention_heads must be an integer between 1 and 1024: 0 (config.json)");
  EXPECT_EQ(refusal_of({{"hidden_size", 4096}, {"num_attention_heads", 2}}),
            "head_dim must be even and at most 1024: 2048 (config.json)");
}

}  // namespace
}  // namespace longrope

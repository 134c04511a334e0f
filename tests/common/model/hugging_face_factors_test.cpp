#include "common/model/hugging_face_factors.h"

#include "common/rope/closed_form_factors.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longrope {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

const std::vector<double> kLong = {1.0, 1.5, 8.0, 32.0};

Json version4() {
  return {{"max_position_embeddings", 131072},
          {"original_max_position_embeddings", 4096},
          {"hidden_size", 64},
          {"num_attention_heads", 8},
          {"rope_scaling", {{"type", "longrope"}, {"short_factor", {1, 1, 1, 1}}, {"long_factor", kLong}}}};
}

Json version5() {
  return {{"max_position_embeddings", 131072},
          {"head_dim", 8},
          {"rope_parameters",
           {{"rope_type", "longrope"},
            {"rope_theta", 10000.0},
            {"short_factor", {1, 1, 1, 1}},
            {"long_factor", kLong},
            {"original_max_position_embeddings", 4096}}}};
}

RescaleFactors parse(const Json& config) { return parse_hugging_face_factors(config, "config.json"); }

std::string refusal_of(const Json& config) {
  return refusal([&] { (void)parse(config); });
}

const AttentionFactor kSuOf32 = {.policy = AttentionPolicy::kSu, .value = 1.1902380714238083};

TEST(HuggingFaceFactorsTest, BothVersionsGiveTheLongFactorAndSu) {
  for (const Json& config : {version4(), version5()}) {
    const RescaleFactors factors = parse(config);
    EXPECT_EQ(factors.lambda, kLong);
    EXPECT_EQ(factors.n_hat, 0);
    EXPECT_EQ(factors.attention.policy, kSuOf32.policy);
    EXPECT_NEAR(factors.attention.value, kSuOf32.value, 1e-15);
  }
}

TEST(HuggingFaceFactorsTest, OldNameSuIsAccepted) {
  Json config = version4();
  config["rope_scaling"]["type"] = "su";
  EXPECT_EQ(parse(config).lambda, kLong);
  config["rope_scaling"].erase("type");
  config["rope_scaling"]["rope_type"] = "longrope";
  EXPECT_EQ(parse(config).lambda, kLong);
}

TEST(HuggingFaceFactorsTest, ExplicitAttentionFactorWins) {
  Json config = version5();
  config["rope_parameters"]["attention_factor"] = 1.25;
  config["rope_parameters"]["factor"] = 2.0;
  EXPECT_EQ(parse(config).attention, (AttentionFactor{AttentionPolicy::kValue, 1.25}));
}

TEST(HuggingFaceFactorsTest, ExplicitFactorDecidesInVersion5OnlyOrWithoutOriginalLength) {
  const double su_of_8 = attention_factor(AttentionPolicy::kSu, 8.0, 4096).value;
  Json five = version5();
  five["rope_parameters"]["factor"] = 8.0;
  EXPECT_DOUBLE_EQ(parse(five).attention.value, su_of_8);
  Json four = version4();
  four["rope_scaling"]["factor"] = 8.0;
  EXPECT_NEAR(parse(four).attention.value, kSuOf32.value, 1e-15);
  four.erase("original_max_position_embeddings");
  four["max_position_embeddings"] = 4096;
  EXPECT_DOUBLE_EQ(parse(four).attention.value, su_of_8);
}

TEST(HuggingFaceFactorsTest, TopLevelOriginalLengthHasPriority) {
  Json config = version5();
  config["original_max_position_embeddings"] = 8192;
  EXPECT_DOUBLE_EQ(parse(config).attention.value, attention_factor(AttentionPolicy::kSu, 16.0, 8192).value);
}

TEST(HuggingFaceFactorsTest, WithoutOriginalLengthThereIsNoExtension) {
  Json config = version5();
  config["rope_parameters"].erase("original_max_position_embeddings");
  EXPECT_EQ(parse(config).attention.value, 1.0);
}

TEST(HuggingFaceFactorsTest, FactorsOfTheWrongLengthAreRefused) {
  Json config = version4();
  config["hidden_size"] = 128;
  EXPECT_EQ(refusal_of(config), "lambda must number 8: 4 (rope_scaling.long_factor (config.json))");
  config["partial_rotary_factor"] = 0.5;
  EXPECT_EQ(parse(config).lambda, kLong);
  Json nested = version5();
  nested["rope_parameters"]["partial_rotary_factor"] = 0.5;
  EXPECT_THAT(refusal_of(nested), HasSubstr("lambda must number 2: 4"));
}

TEST(HuggingFaceFactorsTest, OtherTypesAndShapesAreRefusedByKey) {
  Json config = version4();
  config["rope_scaling"]["type"] = "yarn";
  EXPECT_EQ(refusal_of(config), "rope_scaling.type must be longrope or su: \"yarn\" (config.json)");
  config = version4();
  config["rope_scaling"] = nullptr;
  EXPECT_THAT(refusal_of(config), HasSubstr("rope_scaling must be given"));
  config = version4();
  config["rope_scaling"].erase("long_factor");
  EXPECT_THAT(refusal_of(config), HasSubstr("rope_scaling.long_factor must be given"));
  config = version4();
  config["rope_parameters"] = version5()["rope_parameters"];
  EXPECT_THAT(refusal_of(config), HasSubstr("rope_scaling or rope_parameters: both"));
  config = version5();
  config["rope_parameters"] = {{"full_attention", version5()["rope_parameters"]}};
  EXPECT_THAT(refusal_of(config), HasSubstr("rope_parameters.type must be given"));
  config = version5();
  config["rope_parameters"]["long_factor"][2] = -8.0;
  EXPECT_THAT(refusal_of(config), HasSubstr("lambda must be positive: pair 2 is -8"));
  config = version5();
  config["rope_parameters"]["long_factor"][2] = "8";
  EXPECT_THAT(refusal_of(config), HasSubstr("rope_parameters.long_factor[2] must be a number"));
  config = version4();
  config["num_attention_heads"] = 0;
  EXPECT_THAT(refusal_of(config), HasSubstr("num_attention_heads must be"));
  config = version4();
  config["original_max_position_embeddings"] = 0;
  EXPECT_THAT(refusal_of(config), HasSubstr("original_max_position_embeddings must be"));
  config = version5();
  config["rope_parameters"]["attention_factor"] = -1;
  EXPECT_THAT(refusal_of(config), HasSubstr("attention_factor must be positive: -1"));
}

}  // namespace
}  // namespace longrope

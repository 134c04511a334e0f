#include "common/formats/plain_block.h"

#include "common/formats/engine_config.h"
#include "common/formats/engine_tables.h"
#include "common/model/rope_scaling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using nlohmann::json;

const std::filesystem::path kModel = LONGROPE_SOURCE_DIR "/models/byte-llama";  // 512 tokens, 32 pairs, theta 10,000
constexpr RotaryGeometry kGeometry = {.rotary_dim = 64, .rope_theta = 1e4, .original_length = 512};
constexpr std::int64_t kTarget = 4096;
constexpr double kRatio = 8.0;
constexpr double kTolerance = 1e-9;  // relative, of λ in double precision

AttentionFactor attention_of(double m) { return {m == 1.0 ? AttentionPolicy::kNone : AttentionPolicy::kValue, m}; }

EngineTables tables_of(const std::vector<double>& lambda, double m, std::optional<Engine> engine = std::nullopt) {
  EngineTables tables;
  tables.factors = exact_factors(lambda, 0, attention_of(m));
  tables.target_length = kTarget;
  tables.plain = plain_rope_of(tables.factors, kGeometry, kTarget);
  tables.engine = engine;
  EXPECT_TRUE(tables.plain.has_value());
  return tables;
}

/// config.json as an engine sees it: the untouched one with the overrides.
json config_with(const json& overrides) {
  std::ifstream file(kModel / "config.json");
  json config = json::parse(file);
  for (const auto& [key, value] : overrides.items()) config[key] = value;
  if (config.contains("rope_scaling") && overrides.contains("rope_scaling")) config.erase("rope_parameters");
  return config;
}

const std::vector<std::pair<std::string, std::vector<double>>>& closed_forms() {
  static const std::vector<std::pair<std::string, std::vector<double>>> kForms = {
      {"linear", pi_factors(kGeometry, kRatio)},
      {"theta", ntk_factors(kGeometry, kRatio)},
      {"yarn", yarn_factors(kGeometry, kRatio)},
      {"yarn of another band", yarn_factors(kGeometry, 9.3, {.beta_fast = 8.0, .beta_slow = 0.5})},
      {"llama3", llama3_factors(kGeometry, {.factor = kRatio, .low_freq_factor = 1.0, .high_freq_factor = 6.0})}};
  return kForms;
}

TEST(PlainBlockTest, WrittenKeysAreReadBackAsTheSameFactors) {
  for (const auto& form : closed_forms()) {
    for (const HuggingFaceTarget target : {HuggingFaceTarget::k5, HuggingFaceTarget::k4}) {
      const EngineTables tables = tables_of(form.second, 1.0);
      json overrides = config_overrides(describe_model(kModel), tables, target);
      if (target == HuggingFaceTarget::k4 && !overrides.contains("rope_scaling")) {
        overrides["rope_scaling"] = nullptr;  // transformers 4 reads no rope_parameters
      }
      const RopeParameters read = parse_rope_parameters(config_with(overrides), form.first, 64);
      // A changed rope_theta becomes the base of the angles, others the factors over the model's own.
      for (std::size_t pair = 0; pair < form.second.size(); ++pair) {
        const double frequency = inverse_frequencies(read.geometry)[pair] / read.scaling.beyond_original.lambda[pair];
        const double wanted = inverse_frequencies(kGeometry)[pair] / form.second[pair];
        EXPECT_NEAR(frequency / wanted, 1.0, kTolerance) << form.first << ", pair " << pair;
      }
      EXPECT_EQ(read.scaling.beyond_original.attention.value, 1.0) << form.first;
      EXPECT_THAT(read.warnings, testing::IsEmpty());
    }
  }
}

TEST(PlainBlockTest, YarnStandsInTheFormOfEachTransformers) {
  const EngineTables tables = tables_of(yarn_factors(kGeometry, kRatio), 1.25);
  const json version_5 = config_overrides(describe_model(kModel), tables, HuggingFaceTarget::k5);
  const json block = {{"rope_type", "yarn"},      {"factor", 8.0},
                      {"attention_factor", 1.25}, {"original_max_position_embeddings", 512},
                      {"beta_fast", 32.0},        {"beta_slow", 1.0}};
  json with_theta = block;
  with_theta["rope_theta"] = 10000.0;
  EXPECT_EQ(version_5.at("rope_parameters"), with_theta);
  EXPECT_EQ(version_5.at("max_position_embeddings"), kTarget);
  EXPECT_EQ(version_5.at("original_max_position_embeddings"), 512);
  const json version_4 = config_overrides(describe_model(kModel), tables, HuggingFaceTarget::k4);
  EXPECT_EQ(version_4.at("rope_scaling"), block);
  EXPECT_EQ(version_4.at("rope_theta"), 10000.0);
}

TEST(PlainBlockTest, AttentionFactorStandsAsEachEngineReadsIt) {
  const auto block_for = [](std::optional<Engine> engine) {
    const EngineTables tables = tables_of(yarn_factors(kGeometry, kRatio), 1.25, engine);
    return plain_block(*tables.plain, kTarget, engine).scaling;
  };
  const double usual = 0.1 * std::log(kRatio) + 1.0;  // what the yarn of engines multiplies by without being told
  for (const Engine engine : kEngines) EXPECT_EQ(block_for(engine).at("attention_factor"), 1.25);
  for (const Engine engine : {Engine::kVllm, Engine::kSglang}) {
    EXPECT_NEAR(block_for(engine).at("attn_factor").get<double>() * usual, 1.25, kTolerance);
    EXPECT_FALSE(block_for(engine).contains("mscale")) << "SGLang would read it with mscale_all_dim";
  }
  // mlx_lm/models/rope_utils.py: YarnRoPE without mscale_all_dim.
  EXPECT_NEAR(0.1 * block_for(Engine::kMlx).at("mscale").get<double>() * std::log(kRatio) + 1.0, 1.25, kTolerance);
  EXPECT_FALSE(block_for(Engine::kTransformers).contains("attn_factor"));
}

TEST(PlainBlockTest, ThetaAloneNeedsNoScaling) {
  const PlainBlock block = plain_block(*tables_of(ntk_factors(kGeometry, kRatio), 1.0).plain, kTarget);
  EXPECT_TRUE(block.scaling.is_null());
  EXPECT_NEAR(block.rope_theta, 1e4 * std::pow(8.0, 64.0 / 62.0), 1e-4);
  EXPECT_EQ(block.original_length, kTarget);
}

TEST(PlainBlockTest, ThetaWithAnAttentionFactorIsYarnOfFactorOne) {
  const EngineTables tables = tables_of(ntk_factors(kGeometry, kRatio), 1.25, Engine::kVllm);
  const json overrides = config_overrides(describe_model(kModel), tables, HuggingFaceTarget::k5);
  const json& rope = overrides.at("rope_parameters");
  EXPECT_EQ(rope.at("rope_type"), "yarn");
  EXPECT_EQ(rope.at("factor"), 1.0);
  EXPECT_EQ(rope.at("attn_factor"), 1.25);
  EXPECT_EQ(rope.at("original_max_position_embeddings"), kTarget) << "vLLM computes angles for so many positions";
  const RopeParameters read = parse_rope_parameters(config_with(overrides), "theta", 64);
  EXPECT_EQ(read.scaling.beyond_original.lambda, std::vector<double>(32, 1.0));
  EXPECT_EQ(read.scaling.beyond_original.attention.value, 1.25);
}

TEST(PlainBlockTest, ScalingThatTheModelCarriesIsTakenOutOfBothForms) {
  const std::filesystem::path model = std::filesystem::path(testing::TempDir()) / "PlainBlockTest_scaled";
  std::filesystem::create_directories(model);
  json config = config_with(json::object());
  config.erase("rope_parameters");
  config["rope_theta"] = 10000.0;
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  config["original_max_position_embeddings"] = 512;
  std::ofstream(model / "config.json") << config;
  const EngineTables tables = tables_of(ntk_factors(kGeometry, kRatio), 1.0);
  for (const HuggingFaceTarget target : {HuggingFaceTarget::k5, HuggingFaceTarget::k4}) {
    const json overrides = config_overrides(describe_model(model), tables, target);
    EXPECT_TRUE(overrides.at("rope_scaling").is_null());
    EXPECT_EQ(overrides.at("original_max_position_embeddings"), kTarget);
  }
}

TEST(PlainBlockTest, VllmsFileHoldsThePlainBlockAndNoTables) {
  const EngineTables tables = tables_of(yarn_factors(kGeometry, kRatio), 1.25, Engine::kVllm);
  const std::string text = vllm_config(describe_model(kModel), tables, HuggingFaceTarget::k5);
  EXPECT_THAT(text, testing::HasSubstr("\nmax-model-len: 4096\n"));
  EXPECT_THAT(text, testing::HasSubstr(R"("rope_type":"yarn","factor":8.0)"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("long_factor")));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("mscale")));
}

}  // namespace
}  // namespace longrope

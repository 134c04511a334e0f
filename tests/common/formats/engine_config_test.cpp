#include "common/formats/engine_config.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const std::filesystem::path kModel = LONGROPE_SOURCE_DIR "/models/byte-llama";  // 512 tokens, 32 pairs
constexpr std::int64_t kTarget = 4096;

RescaleFactors sample_factors() {
  std::vector<double> lambda(32, 1.0);
  for (std::size_t pair = 0; pair < lambda.size(); ++pair) lambda[pair] += 0.25 * static_cast<double>(pair);
  return exact_factors(std::move(lambda), 0, {AttentionPolicy::kValue, 1.125});
}

EngineTables sample_tables() {
  return {.factors = sample_factors(), .target_length = kTarget, .short_table = std::nullopt};
}

/// With a short table of its own, up to 1,024 tokens.
EngineTables two_tables(double short_attention_factor) {
  EngineTables tables = sample_tables();
  tables.short_table = {
      .factors = exact_factors(std::vector<double>(32, 1.5), 0, {AttentionPolicy::kValue, short_attention_factor}),
      .max_length = 1024};
  return tables;
}

/// The text between `begin` and the next `end`.
std::string between(const std::string& text, const std::string& begin, const std::string& end) {
  const std::size_t first = text.find(begin) + begin.size();
  return text.substr(first, text.find(end, first) - first);
}

TEST(EngineConfigTest, VllmGetsFactorsLengthsAndTheAttentionFactorUnderItsOwnNames) {
  const std::string text = vllm_config(describe_model(kModel), sample_tables(), HuggingFaceTarget::k5);
  EXPECT_THAT(text, HasSubstr("\nmax-model-len: 4096\n"));
  const auto overrides = nlohmann::json::parse(between(text, "hf-overrides: '", "'\n"));
  EXPECT_EQ(overrides.at("max_position_embeddings"), kTarget);
  const auto& rope = overrides.at("rope_parameters");
  EXPECT_EQ(rope.at("long_factor").get<std::vector<double>>(), sample_factors().lambda);
  EXPECT_EQ(rope.at("short_factor").get<std::vector<double>>(), std::vector<double>(32, 1.0));
  EXPECT_EQ(rope.at("original_max_position_embeddings"), 512);
  EXPECT_EQ(rope.at("rope_theta"), 10000.0);
  EXPECT_EQ(rope.at("rope_type"), "longrope");
  EXPECT_EQ(rope.at("short_mscale"), 1.125);
  EXPECT_EQ(rope.at("long_mscale"), 1.125);
  EXPECT_FALSE(overrides.contains("hidden_size")) << "what does not change is left out";
}

TEST(EngineConfigTest, AxolotlTrainsEveryLengthWithTheFactors) {
  const std::string text = axolotl_config(describe_model(kModel), sample_tables(), HuggingFaceTarget::k5);
  EXPECT_THAT(text, HasSubstr("sequence_len: 4096\noverrides_of_model_config:\n"));
  EXPECT_THAT(text, HasSubstr("\n  max_position_embeddings: 4096\n"));
  const auto rope = nlohmann::json::parse(between(text, "  rope_parameters: ", "\n"));
  EXPECT_EQ(rope.at("long_factor").get<std::vector<double>>(), sample_factors().lambda);
  EXPECT_EQ(rope.at("short_factor"), rope.at("long_factor"));
  EXPECT_EQ(rope.at("attention_factor"), 1.125);
}

TEST(EngineConfigTest, VllmGetsBothTablesWithAnAttentionFactorEach) {
  const std::string text = vllm_config(describe_model(kModel), two_tables(1.0), HuggingFaceTarget::k5);
  const auto rope = nlohmann::json::parse(between(text, "hf-overrides: '", "'\n")).at("rope_parameters");
  EXPECT_EQ(rope.at("short_factor").get<std::vector<double>>(), std::vector<double>(32, 1.5));
  EXPECT_EQ(rope.at("long_factor").get<std::vector<double>>(), sample_factors().lambda);
  EXPECT_EQ(rope.at("original_max_position_embeddings"), 1024);
  EXPECT_EQ(rope.at("short_mscale"), 1.0);
  EXPECT_EQ(rope.at("long_mscale"), 1.125);
}

TEST(EngineConfigTest, Transformers4GetsItsOwnKeys) {
  const std::string vllm = vllm_config(describe_model(kModel), sample_tables(), HuggingFaceTarget::k4);
  EXPECT_THAT(vllm, HasSubstr("# For transformers 4.\n"));
  const auto overrides = nlohmann::json::parse(between(vllm, "hf-overrides: '", "'\n"));
  EXPECT_EQ(overrides.at("rope_scaling").at("long_mscale"), 1.125);
  EXPECT_FALSE(overrides.contains("rope_parameters"));
  const std::string axolotl = axolotl_config(describe_model(kModel), sample_tables(), HuggingFaceTarget::k4);
  const auto rope = nlohmann::json::parse(between(axolotl, "  rope_scaling: ", "\n"));
  EXPECT_EQ(rope.at("short_factor"), rope.at("long_factor"));
}

TEST(EngineConfigTest, ScalingThatTheModelCarriesIsTakenOutFirst) {
  const std::filesystem::path model = std::filesystem::path(testing::TempDir()) / "scaled";
  std::filesystem::create_directories(model);
  std::ifstream file(kModel / "config.json");
  nlohmann::json config = nlohmann::json::parse(file);
  config.erase("rope_parameters");
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  std::ofstream(model / "config.json") << config;
  const std::string text = axolotl_config(describe_model(model), sample_tables(), HuggingFaceTarget::k5);
  EXPECT_LT(text.find("  rope_scaling: null\n"), text.find("  rope_parameters: {")) << "the first wipes the second out";
}

TEST(EngineConfigTest, AxolotlTrainsShortSamplesWithTheShortTableThatIsGiven) {
  const std::string text = axolotl_config(describe_model(kModel), two_tables(1.125), HuggingFaceTarget::k5);
  const auto rope = nlohmann::json::parse(between(text, "  rope_parameters: ", "\n"));
  EXPECT_EQ(rope.at("short_factor").get<std::vector<double>>(), std::vector<double>(32, 1.5));
  EXPECT_THAT(
      [] { static_cast<void>(axolotl_config(describe_model(kModel), two_tables(1.0), HuggingFaceTarget::k5)); },
      ThrowsMessage<InputError>(HasSubstr("attention factor of the short table must be the long one's, 1.125")));
}

TEST(EngineConfigTest, WhatNoEngineCanExpressIsRefused) {
  EngineTables kept_positions = sample_tables();
  kept_positions.factors.n_hat = 4;
  EngineTables too_short = sample_tables();
  too_short.target_length = 512;
  for (const auto& config : {vllm_config, axolotl_config}) {
    EXPECT_THAT([&] { static_cast<void>(config(describe_model(kModel), kept_positions, HuggingFaceTarget::k5)); },
                ThrowsMessage<InputError>(HasSubstr("n_hat must be 0")));
    EXPECT_THAT([&] { static_cast<void>(config(describe_model(kModel), too_short, HuggingFaceTarget::k5)); },
                ThrowsMessage<InputError>(HasSubstr("above the 512 tokens")));
  }
}

}  // namespace
}  // namespace longrope

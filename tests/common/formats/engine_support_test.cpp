#include "common/formats/engine_support.h"

#include "common/error.h"
#include "common/formats/engine_config.h"
#include "common/formats/hugging_face_export.h"
#include "common/model/architecture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr std::int64_t kOriginal = 1024;
constexpr std::int64_t kTarget = 8192;
constexpr double kRatio = 8.0;
constexpr RotaryGeometry kGeometry = {.rotary_dim = 64, .rope_theta = 1e4, .original_length = kOriginal};

/// A model of the class `architecture`, without weights.
ModelDescription model_of(const std::string& architecture) {
  const std::filesystem::path directory =
      std::filesystem::path(testing::TempDir()) / ("EngineSupportTest_" + architecture);
  std::filesystem::create_directories(directory);
  const nlohmann::json config = {{"architectures", {architecture}},
                                 {"hidden_size", 128},
                                 {"intermediate_size", 256},
                                 {"num_hidden_layers", 2},
                                 {"num_attention_heads", 2},
                                 {"num_key_value_heads", 2},
                                 {"head_dim", 64},
                                 {"vocab_size", 64},
                                 {"max_position_embeddings", 1024},
                                 {"rope_theta", 10000.0}};
  std::ofstream(directory / "config.json") << config;
  return describe_model(directory);
}

EngineTables tables_of(std::vector<double> lambda, double m = 1.0) {
  EngineTables tables;
  tables.factors =
      exact_factors(std::move(lambda), 0, {m == 1.0 ? AttentionPolicy::kNone : AttentionPolicy::kValue, m});
  tables.target_length = kTarget;
  return tables;
}

std::vector<double> searched() {
  std::vector<double> lambda(kGeometry.pairs(), 1.0);
  for (std::size_t pair = 0; pair < lambda.size(); ++pair) lambda[pair] += 0.03 * static_cast<double>(pair * pair);
  return lambda;
}

double su() { return attention_factor(AttentionPolicy::kSu, kRatio, kOriginal).value; }

EngineForm form(Engine engine, const std::string& architecture, const EngineTables& tables) {
  return form_for_engine(engine, model_of(architecture), tables, "best.json");
}

TEST(EngineSupportTest, EveryArchitectureWasLookedUpForEveryEngine) {
  for (const Engine engine : kEngines) {
    for (const Architecture& architecture : kArchitectures) {
      const EngineSupport& support = engine_support(engine, architecture.name);
      EXPECT_FALSE(support.source.empty()) << architecture.name;
      EXPECT_TRUE(support.tables || support.plain_blocks) << architecture.name;
    }
    EXPECT_EQ(parse_engine(to_string(engine)), engine);
    EXPECT_FALSE(release_of(engine).empty());
  }
  EXPECT_THAT([] { static_cast<void>(engine_support(Engine::kVllm, "OtherForCausalLM")); },
              ThrowsMessage<InputError>(HasSubstr("looked up for vllm: OtherForCausalLM")));
  EXPECT_THAT([] { static_cast<void>(parse_engine("ollama")); }, ThrowsMessage<InputError>(HasSubstr("mlx: ollama")));
}

TEST(EngineSupportTest, LlamaCppTakesNoFactorTensorsForQwen) {
  for (const char* const architecture : {"Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    EXPECT_FALSE(engine_support(Engine::kLlamaCpp, architecture).tables);
    EXPECT_THAT([&] { static_cast<void>(form(Engine::kLlamaCpp, architecture, tables_of(searched()))); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("factors must have a form that llama.cpp takes for Qwen"),
                                                HasSubstr("llama.cpp 0c1e570: src/models/qwen"),
                                                HasSubstr("passes nullptr for factors"), HasSubstr("best.json"),
                                                HasSubstr("no rope_theta gives every lambda within 1e-06"),
                                                HasSubstr("another engine, or search in the space yarn or theta"))));
  }
  EXPECT_FALSE(form(Engine::kLlamaCpp, "LlamaForCausalLM", tables_of(searched())).tables.plain);
}

TEST(EngineSupportTest, AClosedFormRoundedToTheGridIsNamedInTheRefusal) {
  EngineTables rounded = tables_of(searched());
  rounded.factors = round_to_grid({.steps_per_unit = 100, .upper_bound = 10.0}, yarn_factors(kGeometry, kRatio), 0, {});
  EXPECT_THAT([&] { static_cast<void>(form(Engine::kLlamaCpp, "Qwen3ForCausalLM", rounded)); },
              ThrowsMessage<InputError>(HasSubstr("rounded to the grid of 1/100 is not that form")));
}

TEST(EngineSupportTest, YarnAndThetaArePlainForEveryEngineAndMostModels) {
  for (const Engine engine : kEngines) {
    for (const char* const architecture :
         {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
      const EngineForm yarn = form(engine, architecture, tables_of(yarn_factors(kGeometry, kRatio), 1.25));
      ASSERT_TRUE(yarn.tables.plain) << architecture;
      EXPECT_EQ(yarn.tables.plain->type, PlainRopeType::kYarn);
      EXPECT_EQ(yarn.tables.engine, engine);
      EXPECT_THAT(yarn.remarks.at(0), HasSubstr("yarn with factor 8, beta_fast 32 and beta_slow 1, attention factor "
                                                "1.25"));
      EXPECT_TRUE(form(engine, architecture, tables_of(ntk_factors(kGeometry, kRatio))).tables.plain);
      EXPECT_TRUE(form(engine, architecture, tables_of(pi_factors(kGeometry, kRatio))).tables.plain);
    }
  }
}

TEST(EngineSupportTest, Phi3HasNoPlainBlockButAChangedTheta) {
  for (const Engine engine : kEngines) {
    EXPECT_FALSE(form(engine, "Phi3ForCausalLM", tables_of(yarn_factors(kGeometry, kRatio), su())).tables.plain);
    EXPECT_TRUE(form(engine, "Phi3ForCausalLM", tables_of(ntk_factors(kGeometry, kRatio))).tables.plain);
  }
}

TEST(EngineSupportTest, AnAttentionFactorThatARuleCannotHoldMakesTables) {
  const EngineTables linear = tables_of(pi_factors(kGeometry, kRatio), 1.25);
  const EngineTables theta = tables_of(ntk_factors(kGeometry, kRatio), 1.25);
  EXPECT_FALSE(form(Engine::kTransformers, "LlamaForCausalLM", linear).tables.plain);
  EXPECT_TRUE(form(Engine::kTransformers, "LlamaForCausalLM", theta).tables.plain) << "yarn of factor 1 has one";
  EXPECT_THAT([&] { static_cast<void>(form(Engine::kLlamaCpp, "Qwen3ForCausalLM", linear)); },
              ThrowsMessage<InputError>(HasSubstr("no attention factor beside linear with factor 8, and it is 1.25")));
  EXPECT_THAT([&] { static_cast<void>(form(Engine::kMlx, "Qwen3ForCausalLM", theta)); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("mlx-lm computes the attention factor of longrope as su"),
                                              HasSubstr("mlx-lm applies no attention factor beside rope_theta"))));
}

TEST(EngineSupportTest, MlxTakesTablesWithTheSuFactorAlone) {
  const EngineForm with_su = form(Engine::kMlx, "LlamaForCausalLM", tables_of(searched(), su()));
  EXPECT_FALSE(with_su.tables.plain);
  EXPECT_THAT(with_su.remarks, testing::ElementsAre(HasSubstr("long table at every length")));
  EXPECT_THROW(static_cast<void>(form(Engine::kMlx, "LlamaForCausalLM", tables_of(searched()))), InputError);
  EngineTables two = tables_of(searched(), su());
  two.short_table = {.factors = two.factors, .max_length = kOriginal};
  EXPECT_THAT([&] { static_cast<void>(form(Engine::kMlx, "LlamaForCausalLM", two)); },
              ThrowsMessage<InputError>(HasSubstr("never one for short texts")));
}

TEST(EngineSupportTest, LlamaCppGetsBetasOnItsCommandLineOnlyWhereItTakesNoTensors) {
  const EngineTables other = tables_of(yarn_factors(kGeometry, kRatio, {.beta_fast = 8.0, .beta_slow = 0.5}));
  EXPECT_FALSE(form(Engine::kLlamaCpp, "LlamaForCausalLM", other).tables.plain);
  const EngineForm qwen = form(Engine::kLlamaCpp, "Qwen3ForCausalLM", other);
  ASSERT_TRUE(qwen.tables.plain);
  EXPECT_THAT(qwen.remarks, testing::Contains(HasSubstr("every start needs --yarn-beta-fast ")));
  EXPECT_TRUE(form(Engine::kTransformers, "Qwen3ForCausalLM", other).tables.plain);
}

TEST(EngineSupportTest, Llama3HasNoKeyInLlamaCpp) {
  const EngineTables llama3 = tables_of(llama3_factors(kGeometry));
  EXPECT_TRUE(form(Engine::kVllm, "Qwen3ForCausalLM", llama3).tables.plain);
  EXPECT_FALSE(form(Engine::kLlamaCpp, "LlamaForCausalLM", llama3).tables.plain);
  EXPECT_THAT([&] { static_cast<void>(form(Engine::kLlamaCpp, "Qwen3ForCausalLM", llama3)); },
              ThrowsMessage<InputError>(HasSubstr("no key for llama3")));
}

TEST(EngineSupportTest, VllmNeedsAsManyPositionsAsTheFactorGives) {
  const EngineTables too_small = tables_of(yarn_factors(kGeometry, 7.5));
  EXPECT_FALSE(form(Engine::kVllm, "LlamaForCausalLM", too_small).tables.plain);
  EXPECT_TRUE(form(Engine::kSglang, "LlamaForCausalLM", too_small).tables.plain);
  EXPECT_TRUE(form(Engine::kVllm, "LlamaForCausalLM", tables_of(yarn_factors(kGeometry, 9.5))).tables.plain);
}

TEST(EngineSupportTest, AShortTableOfItsOwnIsKept) {
  EngineTables two = tables_of(yarn_factors(kGeometry, kRatio));
  two.short_table = {.factors = exact_factors(std::vector<double>(32, 1.0), 0, {}), .max_length = kOriginal};
  EXPECT_FALSE(form(Engine::kTransformers, "LlamaForCausalLM", two).tables.plain);
  EXPECT_THAT([&] { static_cast<void>(form(Engine::kLlamaCpp, "Qwen3ForCausalLM", two)); },
              ThrowsMessage<InputError>(HasSubstr("there is a table for short texts")));
}

TEST(EngineSupportTest, VllmAndSglangReadOneAttentionFactorForEachTable) {
  for (const Engine engine : {Engine::kVllm, Engine::kSglang}) {
    EngineTables two = tables_of(searched(), 1.25);
    two.short_table = {.factors = exact_factors(std::vector<double>(32, 1.5), 0, {}), .max_length = kOriginal};
    const ModelDescription model = model_of("LlamaForCausalLM");
    const EngineForm both = form_for_engine(engine, model, two, "best.json");
    const auto overrides = config_overrides(model, both.tables, HuggingFaceTarget::k5);
    EXPECT_EQ(overrides.at("rope_parameters").at("short_mscale"), 1.0);
    EXPECT_EQ(overrides.at("rope_parameters").at("long_mscale"), 1.25);
  }
}

TEST(EngineSupportTest, WhatNoEngineCanExpressIsRefusedFirst) {
  EngineTables leading = tables_of(yarn_factors(kGeometry, kRatio));
  leading.factors.n_hat = 4;
  EXPECT_THAT([&] { static_cast<void>(form(Engine::kTransformers, "LlamaForCausalLM", leading)); },
              ThrowsMessage<InputError>(HasSubstr("n_hat must be 0")));
}

}  // namespace
}  // namespace longrope

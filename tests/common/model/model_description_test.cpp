#include "common/model/model_description.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ModelDescriptionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
    directory_ = std::filesystem::path(::testing::TempDir()) / "model_description_test" / test->name();
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void write(const std::filesystem::path& name, std::string_view text) const {
    std::ofstream(directory_ / name, std::ios::binary) << text;
  }
  /// Describes the valid config below with `changes` merged in; null removes a key.
  [[nodiscard]] ModelDescription describe(const nlohmann::json& changes) const {
    nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                             {"hidden_size", 96},
                             {"intermediate_size", 200},
                             {"max_position_embeddings", 512},
                             {"num_attention_heads", 6},
                             {"num_hidden_layers", 3},
                             {"num_key_value_heads", 2},
                             {"rms_norm_eps", 1e-5},
                             {"vocab_size", 258}};
    config.merge_patch(changes);
    write("config.json", config.dump());
    return describe_model(directory_);
  }
  void expect_refused(const nlohmann::json& changes, std::string_view key, std::string_view shown) const {
    SCOPED_TRACE(changes.dump());
    try {
      (void)describe(changes);
      ADD_FAILURE() << "accepted";
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(std::string(key)));
      EXPECT_THAT(error.what(), HasSubstr(std::string(shown)));
      EXPECT_THAT(error.what(), HasSubstr("config.json"));
    }
  }
  void expect_index_refused(std::string_view index, std::string_view rule) const {
    SCOPED_TRACE(index);
    write("model.safetensors.index.json", index);
    try {
      (void)weight_files(directory_);
      ADD_FAILURE() << "accepted";
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(std::string(rule)));
    }
  }

  std::filesystem::path directory_;
  const nlohmann::json no_changes_ = nlohmann::json::object();
};

TEST_F(ModelDescriptionTest, BundledModelIsDescribed) {
  const ModelDescription model = describe_model(LONGROPE_SOURCE_DIR "/models/byte-llama");
  EXPECT_EQ(model.name, "byte-llama");
  EXPECT_EQ(model.architecture, "LlamaForCausalLM");
  EXPECT_EQ(model.vocabulary, 258);
  EXPECT_EQ(model.hidden_size, 256);
  EXPECT_EQ(model.intermediate_size, 704);
  EXPECT_EQ(model.layers, 6);
  EXPECT_EQ(model.query_heads, 4);
  EXPECT_EQ(model.key_value_heads, 2);
  EXPECT_EQ(model.head_dim, 64);
  EXPECT_EQ(model.rms_norm_epsilon, 1e-5);
  EXPECT_FALSE(model.tied_embeddings);
  EXPECT_FALSE(model.scaling.scaled());
  EXPECT_THAT(model.sliding_windows, ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_EQ(model.bos_token, 256);
  EXPECT_EQ(model.geometry.rotary_dim, 64);
  EXPECT_EQ(model.geometry.rope_theta, 10000.0);
  EXPECT_EQ(model.geometry.original_length, 512);
  EXPECT_EQ(model.weights_dtype, "bfloat16");
}

TEST_F(ModelDescriptionTest, AbsentKeysTakeHuggingFacesDefaults) {
  const ModelDescription model =
      describe({{"num_key_value_heads", nullptr}, {"rms_norm_eps", nullptr}, {"bos_token_id", nullptr}});
  EXPECT_EQ(model.key_value_heads, 6);
  EXPECT_EQ(model.head_dim, 16);
  EXPECT_EQ(model.rms_norm_epsilon, 1e-6);
  EXPECT_EQ(model.geometry.rope_theta, 10000.0);
  EXPECT_EQ(model.bos_token, std::nullopt);
  EXPECT_EQ(model.weights_dtype, "float32");
}

TEST_F(ModelDescriptionTest, RopeThetaIsReadAtTopLevelAndInRopeParameters) {
  EXPECT_EQ(describe({{"rope_theta", 500000.0}}).geometry.rope_theta, 500000.0);
  EXPECT_EQ(describe({{"rope_theta", 500000}}).geometry.rope_theta, 500000.0);
  EXPECT_EQ(describe({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 7e4}}}}).geometry.rope_theta, 7e4);
  expect_refused({{"rope_theta", 1e4}, {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 7e4}}}},
                 "rope_theta", "70000");
}

TEST_F(ModelDescriptionTest, OriginalLengthOverridesMaximumPositions) {
  EXPECT_EQ(describe({{"original_max_position_embeddings", 128}}).geometry.original_length, 128);
}

TEST_F(ModelDescriptionTest, OtherArchitecturesAreRefusedByName) {
  expect_refused({{"architectures", {"MambaForCausalLM"}}}, "LlamaForCausalLM", "MambaForCausalLM");
  expect_refused({{"architectures", nullptr}}, "architectures", "must be given");
  expect_refused({{"architectures", "LlamaForCausalLM"}}, "architectures", "LlamaForCausalLM");
  expect_refused({{"architectures", nlohmann::json::array()}}, "architectures", "array of 0");
}

TEST_F(ModelDescriptionTest, ScaledRopeIsDescribed) {
  const ModelDescription model = describe({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
  EXPECT_EQ(model.scaling.type, "linear");
  EXPECT_EQ(model.own_factors(10).lambda, std::vector<double>(8, 2.0));
  expect_refused({{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}, "type", "dynamic");
  expect_refused({{"rope_scaling", 3}}, "rope_scaling", "3");
}

TEST_F(ModelDescriptionTest, ShortFactorsHoldUpToAndIncludingTheOriginalLength) {
  const std::vector<double> ones(8, 1.0);
  const std::vector<double> twos(8, 2.0);
  const ModelDescription model =
      describe({{"original_max_position_embeddings", 128},
                {"rope_scaling", {{"type", "longrope"}, {"short_factor", ones}, {"long_factor", twos}}}});
  EXPECT_EQ(model.own_factors(128).lambda, ones);
  EXPECT_EQ(model.own_factors(129).lambda, twos);
  EXPECT_EQ(model.scaling.reached_length, 512);
}

TEST_F(ModelDescriptionTest, BiasesFollowArchitectureAndConfig) {
  const auto biases = [this](const nlohmann::json& changes) {
    const ModelDescription model = describe(changes);
    return std::vector<bool>{model.query_key_value_bias, model.attention_output_bias, model.feed_forward_bias};
  };
  EXPECT_THAT(biases(no_changes_), ElementsAre(false, false, false));
  EXPECT_THAT(biases({{"attention_bias", true}}), ElementsAre(true, true, false));
  EXPECT_THAT(biases({{"mlp_bias", true}}), ElementsAre(false, false, true));
  EXPECT_THAT(biases({{"architectures", {"Qwen2ForCausalLM"}}}), ElementsAre(true, false, false));
  EXPECT_THAT(biases({{"architectures", {"Qwen3ForCausalLM"}}}), ElementsAre(false, false, false));
  EXPECT_THAT(biases({{"architectures", {"Qwen3ForCausalLM"}}, {"attention_bias", true}}),
              ElementsAre(true, true, false));
  for (const char* const name : {"MistralForCausalLM", "Phi3ForCausalLM"}) {
    expect_refused({{"architectures", {name}}, {"attention_bias", true}}, "attention_bias", name);
  }
  for (const char* const name : {"MistralForCausalLM", "Phi3ForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    expect_refused({{"architectures", {name}}, {"mlp_bias", true}}, "mlp_bias", name);
  }
}

TEST_F(ModelDescriptionTest, ArchitecturesDifferInNormsAndTensors) {
  EXPECT_FALSE(describe(no_changes_).query_key_norm);
  EXPECT_FALSE(describe(no_changes_).fused_projections);
  EXPECT_TRUE(describe({{"architectures", {"Qwen3ForCausalLM"}}}).query_key_norm);
  EXPECT_TRUE(describe({{"architectures", {"Phi3ForCausalLM"}}}).fused_projections);
}

TEST_F(ModelDescriptionTest, EachArchitectureHasItsOwnDefaults) {
  const auto described = [this](const char* name, std::int64_t heads) {
    nlohmann::json changes = {{"architectures", {name}}, {"num_attention_heads", heads}, {"hidden_size", 128}};
    changes["num_key_value_heads"] = nullptr;  // removes the key
    changes["rms_norm_eps"] = nullptr;
    return describe(changes);
  };
  EXPECT_EQ(described("MistralForCausalLM", 16).key_value_heads, 8);
  EXPECT_EQ(described("Qwen2ForCausalLM", 32).key_value_heads, 32);
  EXPECT_EQ(described("Qwen3ForCausalLM", 32).head_dim, 128);
  EXPECT_EQ(described("Phi3ForCausalLM", 16).key_value_heads, 16);
  EXPECT_EQ(described("Phi3ForCausalLM", 16).rms_norm_epsilon, 1e-5);
  EXPECT_EQ(described("MistralForCausalLM", 16).rms_norm_epsilon, 1e-6);
}

TEST_F(ModelDescriptionTest, FactorsOfItsConfigFitTheHeadsOfTheModel) {
  nlohmann::json changes = {
      {"architectures", {"Qwen3ForCausalLM"}}, {"num_key_value_heads", 2}, {"original_max_position_embeddings", 128}};
  changes["rope_scaling"] = {{"type", "longrope"},
                             {"short_factor", std::vector<double>(64, 1.0)},
                             {"long_factor", std::vector<double>(64, 2.0)}};
  const ModelDescription model = describe(changes);
  EXPECT_EQ(model.head_dim, 128) << "Qwen3's own, which config.json may leave out";
  const nlohmann::json config = nlohmann::json::parse(std::ifstream(directory_ / "config.json"));
  EXPECT_EQ(parse_longrope_tables(config, "config.json").long_factors, model.own_factors(129));
  EXPECT_EQ(parse_longrope_tables(config, "config.json").short_factors, model.own_factors(128));
}

TEST_F(ModelDescriptionTest, ReachedLengthIsTakenWhereTheConfigLeavesItOpen) {
  EXPECT_THAT(describe({{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}}).assumption,
              HasSubstr("--reached-length 512"));
  const ModelDescription model = describe_model(directory_, 512);
  EXPECT_EQ(model.scaling.reached_length, 512);
  EXPECT_EQ(model.geometry.original_length, 128);
  EXPECT_EQ(model.assumption, "");
  EXPECT_EQ(identify_model(directory_, 512).description.scaling.reached_length, 512);
  EXPECT_THROW((void)describe_model(directory_, 4096), InputError);
}

TEST_F(ModelDescriptionTest, WhatOtherEnginesWouldComputeOtherwiseIsWarnedOf) {
  EXPECT_THAT(describe(nlohmann::json::object()).warnings, IsEmpty());
  EXPECT_THAT(
      describe({{"rope_scaling",
                 {{"rope_type", "yarn"},
                  {"factor", 4.0},
                  {"original_max_position_embeddings", 128},
                  {"attn_factor", 0.8782488562869419}}},
                {"dual_chunk_attention_config", {{"chunk_size", 256}}}})
          .warnings,
      ElementsAre(
          AllOf(HasSubstr("rope_scaling.attn_factor"), HasSubstr("config.json"), HasSubstr("vLLM serves m = 1")),
          AllOf(HasSubstr("dual_chunk_attention_config"), HasSubstr("vLLM computes dual chunk attention"))));
}

TEST_F(ModelDescriptionTest, NullKeyValueHeadsAreAsManyAsQueryHeads) {
  write("config.json", R"({"architectures": ["MistralForCausalLM"], "hidden_size": 96, "intermediate_size": 200,
      "max_position_embeddings": 512, "num_attention_heads": 6, "num_hidden_layers": 3, "vocab_size": 258,
      "num_key_value_heads": null, "sliding_window": null})");
  const ModelDescription model = describe_model(directory_);
  EXPECT_EQ(model.key_value_heads, 6);
  EXPECT_EQ(model.sliding_window(), 0);
}

TEST_F(ModelDescriptionTest, PartialRotaryIsPhi3s) {
  EXPECT_EQ(describe({{"architectures", {"Phi3ForCausalLM"}}, {"partial_rotary_factor", 0.75}}).geometry.rotary_dim,
            12);
  expect_refused({{"partial_rotary_factor", 0.5}}, "partial_rotary_factor", "LlamaForCausalLM: 0.5");
  expect_refused({{"architectures", {"Phi3ForCausalLM"}}, {"partial_rotary_factor", 0.7}}, "partial_rotary_factor",
                 "even and at least 4");
}

TEST_F(ModelDescriptionTest, Phi3ReadsNoScalingButLongrope) {
  expect_refused({{"architectures", {"Phi3ForCausalLM"}}, {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}},
                 "rope_type", "default or longrope for Phi3ForCausalLM");
}

TEST_F(ModelDescriptionTest, SlidingWindowsFollowTheArchitecture) {
  const auto windows = [this](nlohmann::json changes, const char* name) {
    changes["architectures"] = {name};
    return describe(changes).sliding_windows;
  };
  EXPECT_THAT(windows({}, "LlamaForCausalLM"), ElementsAre(0, 0, 0));
  EXPECT_THAT(windows({{"sliding_window", 7}}, "MistralForCausalLM"), ElementsAre(7, 7, 7));
  EXPECT_THAT(windows({}, "MistralForCausalLM"), ElementsAre(4096, 4096, 4096));
  EXPECT_THAT(windows({}, "Phi3ForCausalLM"), ElementsAre(0, 0, 0));
  EXPECT_THAT(windows({{"sliding_window", 7}}, "Phi3ForCausalLM"), ElementsAre(7, 7, 7));
  for (const char* const qwen : {"Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    const nlohmann::json on = {{"sliding_window", 7}, {"use_sliding_window", true}, {"max_window_layers", 1}};
    EXPECT_THAT(windows({{"sliding_window", 7}, {"max_window_layers", 1}}, qwen), ElementsAre(0, 0, 0));
    EXPECT_THAT(windows(on, qwen), ElementsAre(0, 7, 7));
    nlohmann::json by_type = on;
    by_type["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
    EXPECT_THAT(windows(by_type, qwen), ElementsAre(7, 0, 7));
  }
}

TEST_F(ModelDescriptionTest, WindowsThatTransformersWouldNotReadAreRefused) {
  const nlohmann::json mixed = {"full_attention", "sliding_attention", "full_attention"};
  expect_refused({{"sliding_window", 7}}, "sliding_window", "absent for LlamaForCausalLM: 7");
  expect_refused({{"layer_types", mixed}}, "layer_types", "the same for all layers of LlamaForCausalLM");
  expect_refused({{"architectures", {"MistralForCausalLM"}}, {"layer_types", mixed}}, "layer_types", "same");
  expect_refused({{"architectures", {"Qwen2ForCausalLM"}}, {"layer_types", mixed}}, "layer_types", "no sliding window");
  expect_refused({{"layer_types", {"full_attention"}}}, "layer_types", "num_hidden_layers, 3");
  expect_refused({{"layer_types", {"full_attention", "full_attention", "linear_attention"}}}, "layer_types",
                 "linear_attention");
}

TEST_F(ModelDescriptionTest, WhatTheForwardPassDoesNotDoIsRefused) {
  expect_refused({{"hidden_act", "gelu"}}, "hidden_act", "gelu");
  expect_refused({{"quantization_config", {{"bits", 4}}}}, "quantization_config", "must be absent (not supported)");
  expect_refused({{"attn_logit_softcapping", 50.0}}, "attn_logit_softcapping", "50");
  expect_refused({{"final_logit_softcapping", 30.0}}, "final_logit_softcapping", "30");
  expect_refused({{"num_local_experts", 8}}, "num_local_experts", "8");
  expect_refused({{"num_experts", 8}}, "num_experts", "8");
  expect_refused({{"architectures", {"MixtralForCausalLM"}}}, "architectures", "MixtralForCausalLM");
  expect_refused({{"dtype", "float8_e4m3fn"}}, "dtype", "float8_e4m3fn");
}

TEST_F(ModelDescriptionTest, HostileNumbersAreRefused) {
  const std::vector<const char*> required = {"hidden_size",       "intermediate_size",   "max_position_embeddings",
                                             "num_hidden_layers", "num_attention_heads", "vocab_size"};
  const std::vector<nlohmann::json> wrong = {
      0, -1, 1.5, "12", true, std::numeric_limits<std::uint64_t>::max(), 1e300, nlohmann::json::array({1})};
  for (const char* const key : required) {
    for (const nlohmann::json& value : wrong) expect_refused({{key, value}}, key, "integer");
    expect_refused({{key, nullptr}}, key, "must be given");
  }
  expect_refused({{"num_key_value_heads", 4}}, "num_key_value_heads", "divisor");
  expect_refused({{"head_dim", 15}}, "head_dim", "even");
  expect_refused({{"hidden_size", 97}}, "hidden_size", "97");
  expect_refused({{"rms_norm_eps", 0}}, "rms_norm_eps", "0");
  expect_refused({{"rms_norm_eps", "small"}}, "rms_norm_eps", "small");
  expect_refused({{"rope_theta", 1.0}}, "rope_theta", "1");
  expect_refused({{"rope_theta", 1e300}}, "rope_theta", "1e+300");
  expect_refused({{"bos_token_id", 258}}, "bos_token_id", "258");
  expect_refused({{"tie_word_embeddings", 1}}, "tie_word_embeddings", "1");
}

TEST_F(ModelDescriptionTest, BrokenJsonIsRefused) {
  for (const std::string& text :
       {std::string("{"), std::string("[]"), std::string(R"({"hidden_size":1,"hidden_size":2})"),
        R"({"x":)" + std::string(1000, '[') + std::string(1000, ']') + "}"}) {
    write("config.json", text);
    EXPECT_THROW((void)describe_model(directory_), InputError) << text.substr(0, 40);
  }
  std::filesystem::remove(directory_ / "config.json");
  EXPECT_THROW((void)describe_model(directory_), InputError);
}

TEST_F(ModelDescriptionTest, SingleWeightFileIsFoundThroughALink) {
  write("blob", "x");
  std::filesystem::create_directory(directory_ / "snapshot");
  std::filesystem::create_symlink("../blob", directory_ / "snapshot" / "model.safetensors");
  EXPECT_THAT(weight_files(directory_ / "snapshot"), ElementsAre(directory_ / "snapshot" / "model.safetensors"));
}

TEST_F(ModelDescriptionTest, ShardsAreListedOnceInNameOrder) {
  write("b.safetensors", "x");
  write("a.safetensors", "x");
  write("model.safetensors.index.json", R"({"metadata":{"total_size":1},"weight_map":
      {"t1":"b.safetensors","t2":"a.safetensors","t3":"b.safetensors"}})");
  EXPECT_THAT(weight_files(directory_), ElementsAre(directory_ / "a.safetensors", directory_ / "b.safetensors"));
}

TEST_F(ModelDescriptionTest, MissingWeightsAreRefusedByName) {
  EXPECT_THAT([this] { (void)weight_files(directory_); },
              ::testing::ThrowsMessage<InputError>(HasSubstr("model.safetensors")));
  expect_index_refused(R"({"weight_map":{"t":"gone-00001-of-00002.safetensors"}})", "gone-00001-of-00002.safetensors");
}

TEST_F(ModelDescriptionTest, IndexThatLeavesTheDirectoryIsRefused) {
  std::filesystem::create_directory(directory_ / "sub");
  write("outside.safetensors", "x");
  const std::vector<std::string> names = {
      "../x.safetensors",    "sub/../../x.safetensors", "/etc/x.safetensors", "sub/..", "", "config.json", "sub/",
      "a\\u0000.safetensors"};
  for (const std::string& name : names) {
    expect_index_refused(R"({"weight_map":{"t":")" + name + R"("}})", "inside the model's directory");
  }
}

TEST_F(ModelDescriptionTest, BrokenIndexIsRefused) {
  expect_index_refused("[]", "must be an object");
  for (const char* const index : {"{}", R"({"weight_map":[]})", R"({"weight_map":{}})"}) {
    expect_index_refused(index, "weight_map");
  }
  expect_index_refused(R"({"weight_map":{"t":1}})", "string");
  expect_index_refused(R"({"weight_map":{"t":"a","t":"b"}})", "t");
}

TEST_F(ModelDescriptionTest, DigestFollowsConfigAndWeightsButNotPlaceOrName) {
  const auto digest_of = [this](const char* name, const char* config, const char* weights) {
    std::filesystem::create_directories(directory_ / name);
    write(std::filesystem::path(name) / "config.json", config);
    write(std::filesystem::path(name) / "model.safetensors", weights);
    return model_digest(directory_ / name);
  };
  const std::string digest = digest_of("one", "{}", "weights");
  EXPECT_EQ(digest.size(), 64U);
  EXPECT_EQ(digest_of("two", "{}", "weights"), digest);
  EXPECT_NE(digest_of("three", "{ }", "weights"), digest);
  EXPECT_NE(digest_of("four", "{}", "Weights"), digest);
}

}  // namespace
}  // namespace longrope

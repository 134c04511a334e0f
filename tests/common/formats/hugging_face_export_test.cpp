#include "common/formats/hugging_face_export.h"

#include "common/error.h"
#include "common/formats/factors_file.h"
#include "common/model/model_description.h"
#include "tests/support/constant_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

namespace longrope {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr std::int64_t kOriginalLength = 1024;
constexpr std::int64_t kTargetLength = 4096;

// Two layers of nothing: the exporter reads config.json and treats every other file as bytes.
constexpr const char* kConfig = R"({
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "hidden_size": 32,
  "intermediate_size": 64,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "head_dim": 8,
  "vocab_size": 256,
  "rms_norm_eps": 1e-05,
  "max_position_embeddings": 1024,
  "rope_theta": 500000.0,
  "tie_word_embeddings": true,
  "torch_dtype": "bfloat16"
})";

std::string content(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "(not refused)";
}

class HuggingFaceExportTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(directory_);
    fs::create_directories(model_ / ".cache");
    std::ofstream(model_ / "config.json") << kConfig;
    std::ofstream(model_ / "model.safetensors") << "weights";
    std::ofstream(model_ / "tokenizer.json") << "{}";
  }
  [[nodiscard]] nlohmann::json exported(HuggingFaceTarget target) const {
    export_hugging_face(describe_model(model_), factors_, kTargetLength, out_, target);
    return nlohmann::json::parse(content(out_ / "config.json"));
  }
  void change_config(const nlohmann::json& changes) const {
    nlohmann::json config = nlohmann::json::parse(kConfig);
    config.merge_patch(changes);
    if (config.contains("rope_parameters")) config.erase("rope_theta");
    std::ofstream(model_ / "config.json") << config;
  }
  /// Nothing may be left beside the model, whatever went wrong.
  [[nodiscard]] std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }

  fs::path directory_ = fs::path(testing::TempDir()) / (std::string("HuggingFaceExportTest_") +
                                                        testing::UnitTest::GetInstance()->current_test_info()->name());
  fs::path model_ = directory_ / "model";
  fs::path out_ = directory_ / "out";
  RescaleFactors factors_ =
      exact_factors({1.0, 1.1, 2.0 + 1.0 / 3.0, 4.0}, 0, {AttentionPolicy::kSu, 1.0954451150103321});
};

TEST_F(HuggingFaceExportTest, Version5HoldsEverythingInRopeParameters) {
  const nlohmann::json config = exported(HuggingFaceTarget::k5);
  const nlohmann::json expected = {{"rope_type", "longrope"},
                                   {"rope_theta", 500000.0},
                                   {"short_factor", {1.0, 1.0, 1.0, 1.0}},
                                   {"long_factor", factors_.lambda},
                                   {"factor", 4.0},
                                   {"attention_factor", 1.0954451150103321},
                                   {"original_max_position_embeddings", 1024}};
  EXPECT_EQ(config.at("rope_parameters"), expected);
  EXPECT_EQ(config.at("max_position_embeddings"), 4096);
  EXPECT_EQ(config.at("original_max_position_embeddings"), 1024);
  EXPECT_FALSE(config.contains("rope_theta"));
  EXPECT_FALSE(config.contains("rope_scaling"));
  EXPECT_EQ(config.at("hidden_size"), 32);
}

TEST_F(HuggingFaceExportTest, Version4KeepsBaseAndOriginalLengthAtTopLevel) {
  const nlohmann::json config = exported(HuggingFaceTarget::k4);
  const nlohmann::json expected = {
      {"rope_type", "longrope"}, {"short_factor", {1.0, 1.0, 1.0, 1.0}},   {"long_factor", factors_.lambda},
      {"factor", 4.0},           {"attention_factor", 1.0954451150103321}, {"original_max_position_embeddings", 1024}};
  EXPECT_EQ(config.at("rope_scaling"), expected);
  EXPECT_EQ(config.at("rope_theta"), 500000.0);
  EXPECT_EQ(config.at("original_max_position_embeddings"), 1024);
  EXPECT_EQ(config.at("max_position_embeddings"), 4096);
  EXPECT_FALSE(config.contains("rope_parameters"));
}

TEST_F(HuggingFaceExportTest, TieIsSaidOnlyWhereTheLmHeadIsTheEmbedding) {
  EXPECT_EQ(exported(HuggingFaceTarget::k5).at("tie_word_embeddings"), true);
  ConstantWeights weights(describe_model(model_), 0.5F);
  weights.set("lm_head.weight", {256, 32}, 0.25F);
  fs::remove(model_ / "model.safetensors");
  weights.write(model_);
  const EngineTables tables = {.factors = factors_, .target_length = kTargetLength, .short_table = {}};
  for (const HuggingFaceTarget target : {HuggingFaceTarget::k5, HuggingFaceTarget::k4}) {
    fs::remove_all(out_);
    EXPECT_EQ(exported(target).at("tie_word_embeddings"), false);
    EXPECT_EQ(config_overrides(describe_model(model_), tables, target).at("tie_word_embeddings"), false)
        << "vLLM and axolotl";
  }
  fs::remove_all(out_);
  export_fine_tuned({.model_directory = model_, .target_length = 1024}, [](const fs::path&) {}, out_);
  EXPECT_EQ(nlohmann::json::parse(content(out_ / "config.json")).at("tie_word_embeddings"), false);
}

TEST_F(HuggingFaceExportTest, SlidingWindowsAreSwitchedOffAsInScoring) {
  change_config({{"architectures", {"MistralForCausalLM"}}});  // which has a window where none is named
  EXPECT_TRUE(exported(HuggingFaceTarget::k5).at("sliding_window").is_null());
  fs::remove_all(out_);
  change_config({{"architectures", {"Qwen2ForCausalLM"}},
                 {"use_sliding_window", true},
                 {"sliding_window", 128},
                 {"layer_types", {"full_attention", "sliding_attention"}}});
  const nlohmann::json config = exported(HuggingFaceTarget::k4);
  EXPECT_TRUE(config.at("sliding_window").is_null());
  EXPECT_EQ(config.at("use_sliding_window"), false);
  EXPECT_EQ(config.at("layer_types"), nlohmann::json({"full_attention", "full_attention"}));
}

TEST_F(HuggingFaceExportTest, PartialRotaryFactorOutlivesTheRopeParametersThatHeldIt) {
  const nlohmann::json rope = {{"rope_type", "default"}, {"rope_theta", 500000.0}, {"partial_rotary_factor", 0.5}};
  change_config({{"architectures", {"Phi3ForCausalLM"}}, {"head_dim", 16}, {"rope_parameters", rope}});
  factors_.lambda.push_back(4.0);
  EXPECT_THAT(refusal([&] { static_cast<void>(exported(HuggingFaceTarget::k5)); }), HasSubstr("lambda must number 4"));
  factors_.lambda.pop_back();
  EXPECT_EQ(exported(HuggingFaceTarget::k5).at("rope_parameters").at("partial_rotary_factor"), 0.5);
  fs::remove_all(out_);
  EXPECT_EQ(exported(HuggingFaceTarget::k4).at("partial_rotary_factor"), 0.5);
}

TEST_F(HuggingFaceExportTest, Phi3OfVersion4HasThreeKeysAndTheSuFactorOnly) {
  change_config({{"architectures", {"Phi3ForCausalLM"}}});
  const nlohmann::json expected = {
      {"type", "longrope"}, {"short_factor", {1.0, 1.0, 1.0, 1.0}}, {"long_factor", factors_.lambda}};
  EXPECT_EQ(exported(HuggingFaceTarget::k4).at("rope_scaling"), expected);
  fs::remove_all(out_);
  factors_.attention = {AttentionPolicy::kNone, 1.0};
  EXPECT_THAT(refusal([&] { static_cast<void>(exported(HuggingFaceTarget::k4)); }),
              HasSubstr("attention factor must be su, 1.095"));
  EXPECT_EQ(entries(), 1U);
  EXPECT_EQ(exported(HuggingFaceTarget::k5).at("rope_parameters").at("attention_factor"), 1.0);
}

TEST_F(HuggingFaceExportTest, ScaledModelKeepsItsFactorsUpToTheLengthThatTheyReach) {
  change_config({{"max_position_embeddings", 2048},
                 {"rope_scaling",
                  {{"rope_type", "llama3"},
                   {"factor", 2.0},
                   {"low_freq_factor", 1.0},
                   {"high_freq_factor", 4.0},
                   {"original_max_position_embeddings", 1024}}}});
  const std::vector<double> own = describe_model(model_).scaling.beyond_original.lambda;
  EXPECT_EQ(own.front(), 1.0);
  EXPECT_EQ(own.back(), 2.0);
  const nlohmann::json expected = {{"rope_type", "longrope"},
                                   {"short_factor", own},
                                   {"long_factor", factors_.lambda},
                                   {"factor", 2.0},
                                   {"attention_factor", 1.0954451150103321},
                                   {"original_max_position_embeddings", 2048}};
  const nlohmann::json version_4 = exported(HuggingFaceTarget::k4);
  EXPECT_EQ(version_4.at("rope_scaling"), expected);
  EXPECT_EQ(version_4.at("original_max_position_embeddings"), 2048);
  EXPECT_EQ(version_4.at("max_position_embeddings"), 4096);
  EXPECT_EQ(read_factors_json(out_ / "longrope_factors.json").model->geometry.original_length, 1024);
  fs::remove_all(out_);
  const nlohmann::json version_5 = exported(HuggingFaceTarget::k5);
  EXPECT_FALSE(version_5.contains("rope_scaling"));
  EXPECT_EQ(version_5.at("rope_parameters").at("short_factor"), own);
  EXPECT_EQ(version_5.at("rope_parameters").at("long_factor"), factors_.lambda);
  EXPECT_EQ(version_5.at("rope_parameters").at("original_max_position_embeddings"), 2048);
  EXPECT_EQ(version_5.at("original_max_position_embeddings"), 2048);
}

TEST_F(HuggingFaceExportTest, LongTableOfALongropeModelBecomesTheShortOne) {
  change_config(
      {{"max_position_embeddings", 2048},
       {"original_max_position_embeddings", 1024},
       {"rope_scaling",
        {{"type", "longrope"}, {"short_factor", {1.0, 1.0, 1.0, 1.1}}, {"long_factor", {1.0, 1.1, 1.5, 2.0}}}}});
  const nlohmann::json rope = exported(HuggingFaceTarget::k5).at("rope_parameters");
  EXPECT_EQ(rope.at("short_factor"), (std::vector<double>{1.0, 1.1, 1.5, 2.0}));
  EXPECT_EQ(rope.at("original_max_position_embeddings"), 2048);
}

TEST_F(HuggingFaceExportTest, GivenShortTableReplacesTheFineTunedOneUpToItsLength) {
  // As `longrope finetune` leaves it: the factors it was trained with in both tables, made for 2,048 tokens.
  const std::vector<double> fine_tuned = {1.0, 1.1, 1.5, 2.0};
  change_config({{"max_position_embeddings", 2048},
                 {"original_max_position_embeddings", 1024},
                 {"rope_scaling",
                  {{"rope_type", "longrope"},
                   {"attention_factor", 1.05},
                   {"short_factor", fine_tuned},
                   {"long_factor", fine_tuned}}}});
  const RescaleFactors recovered = exact_factors({1.0, 1.05, 1.1, 1.25}, 0, factors_.attention);
  const EngineTables tables = {.factors = factors_,
                               .target_length = kTargetLength,
                               .short_table = {{.factors = recovered, .max_length = kOriginalLength}}};
  for (const HuggingFaceTarget target : {HuggingFaceTarget::k4, HuggingFaceTarget::k5}) {
    fs::remove_all(out_);
    export_hugging_face(describe_model(model_), tables, out_, target);
    const RopeParameters read =
        parse_rope_parameters(nlohmann::json::parse(content(out_ / "config.json")), "config.json", 8);
    EXPECT_EQ(read.geometry.original_length, kOriginalLength);
    EXPECT_EQ(read.scaling.reached_length, kTargetLength);
    EXPECT_EQ(read.scaling.up_to_original.lambda, recovered.lambda);
    EXPECT_EQ(read.scaling.beyond_original.lambda, factors_.lambda);
    EXPECT_EQ(read.scaling.beyond_original.attention.value, factors_.attention.value);
    EXPECT_EQ(read_factors(out_ / "longrope_factors.json", kOriginalLength), recovered);
    EXPECT_EQ(read_factors(out_ / "longrope_factors.json", kOriginalLength + 1), factors_);
  }
}

TEST_F(HuggingFaceExportTest, ShortTableWithAnotherAttentionFactorIsRefused) {
  const EngineTables tables = {
      .factors = factors_,
      .target_length = kTargetLength,
      .short_table = {{.factors = exact_factors({1.0, 1.0, 1.0, 1.0}, 0, {}), .max_length = kOriginalLength}}};
  EXPECT_THAT(refusal([&] { export_hugging_face(describe_model(model_), tables, out_, HuggingFaceTarget::k5); }),
              HasSubstr("attention factor of the short table must be the long one's"));
  EXPECT_EQ(entries(), 1U);
}

TEST_F(HuggingFaceExportTest, TargetThatScaledModelReachesAlreadyIsRefused) {
  change_config({{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}});
  EXPECT_THAT(refusal([&] { static_cast<void>(exported(HuggingFaceTarget::k5)); }),
              HasSubstr("above the 4096 tokens that the model reaches: 4096"));
}

TEST_F(HuggingFaceExportTest, ReachedLengthThatIsSaidIsWhereTheTablesChange) {
  change_config({{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}});  // 1,024 tokens are 4 times 256
  const ModelDescription model = describe_model(model_, 1024);
  for (const HuggingFaceTarget target : {HuggingFaceTarget::k4, HuggingFaceTarget::k5}) {
    fs::remove_all(out_);
    export_hugging_face(model, factors_, kTargetLength, out_, target);
    const auto config = nlohmann::json::parse(content(out_ / "config.json"));
    EXPECT_EQ(config.at("original_max_position_embeddings"), 1024);
    EXPECT_EQ(config.at("max_position_embeddings"), kTargetLength);
    const RopeParameters read = parse_rope_parameters(config, "config.json", 8);
    EXPECT_EQ(read.scaling.up_to_original.lambda, (std::vector<double>{4.0, 4.0, 4.0, 4.0}));
    EXPECT_EQ(read.scaling.beyond_original.lambda, factors_.lambda);
    EXPECT_EQ(read.scaling.reached_length, kTargetLength);
  }
  FineTunedModel trained = {.model_directory = model_, .factors = factors_, .target_length = 2048};
  EXPECT_THAT(refusal([&] { require_exportable(trained); }), HasSubstr("at least the 4096 tokens"));
  trained.reached_length = 1024;
  fs::remove_all(out_);
  export_fine_tuned(
      trained, [](const fs::path& folder) { std::ofstream(folder / "model.safetensors") << "new"; }, out_);
  const auto config = nlohmann::json::parse(content(out_ / "config.json"));
  EXPECT_EQ(config.at("original_max_position_embeddings"), 256);
  EXPECT_EQ(config.at("max_position_embeddings"), 2048);
}

TEST_F(HuggingFaceExportTest, ExportedFactorsReadBackBitExactly) {
  static_cast<void>(exported(HuggingFaceTarget::k5));
  const FactorsFile canonical = read_factors_json(out_ / "longrope_factors.json");
  ASSERT_EQ(canonical.entries.size(), 1U);
  EXPECT_EQ(canonical.entries[0].factors, factors_);
  EXPECT_EQ(canonical.entries[0].target_length, kTargetLength);
  EXPECT_EQ(canonical.model->sha256, model_digest(model_));
  EXPECT_EQ(canonical.model->geometry.original_length, kOriginalLength);
  EXPECT_EQ(read_factors(out_ / "config.json").lambda, factors_.lambda);
}

TEST_F(HuggingFaceExportTest, OtherFilesOutliveTheModelsDirectory) {
  // As in the Hugging Face cache: the weights are a link into another directory.
  fs::create_directories(directory_ / "blobs");
  fs::rename(model_ / "model.safetensors", directory_ / "blobs" / "abc");
  fs::create_symlink("../blobs/abc", model_ / "model.safetensors");
  static_cast<void>(exported(HuggingFaceTarget::k5));
  EXPECT_EQ(fs::hard_link_count(out_ / "model.safetensors"), 2U);
  fs::remove_all(model_);
  fs::remove_all(directory_ / "blobs");
  EXPECT_FALSE(fs::is_symlink(out_ / "model.safetensors"));
  EXPECT_EQ(content(out_ / "model.safetensors"), "weights");
  EXPECT_EQ(content(out_ / "tokenizer.json"), "{}");
  EXPECT_FALSE(fs::exists(out_ / ".cache"));
}

TEST_F(HuggingFaceExportTest, ModelsOwnConfigIsUntouched) {
  static_cast<void>(exported(HuggingFaceTarget::k4));
  EXPECT_EQ(content(model_ / "config.json"), kConfig);
}

TEST_F(HuggingFaceExportTest, NonEmptyFolderIsRefusedAndLeftAlone) {
  fs::create_directories(out_);
  std::ofstream(out_ / "mine.txt") << "mine";
  EXPECT_THAT(refusal([&] { static_cast<void>(exported(HuggingFaceTarget::k5)); }), HasSubstr(out_.string()));
  EXPECT_EQ(content(out_ / "mine.txt"), "mine");
  EXPECT_EQ(entries(), 2U);
}

TEST_F(HuggingFaceExportTest, EmptyFolderIsFilled) {
  fs::create_directories(out_);
  static_cast<void>(exported(HuggingFaceTarget::k5));
  EXPECT_TRUE(fs::exists(out_ / "config.json"));
  EXPECT_EQ(entries(), 2U);
}

TEST_F(HuggingFaceExportTest, PositiveNHatIsRefusedWithAdvice) {
  factors_.n_hat = 4;
  EXPECT_THAT(refusal([&] { static_cast<void>(exported(HuggingFaceTarget::k5)); }), HasSubstr("search with n_hat = 0"));
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(HuggingFaceExportTest, FactorsOfAnotherModelAreRefused) {
  factors_.lambda.push_back(5.0);
  EXPECT_NE(refusal([&] { static_cast<void>(exported(HuggingFaceTarget::k5)); }), "(not refused)");
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(HuggingFaceExportTest, TargetNotAboveTheOriginalLengthIsRefused) {
  const auto export_to = [&](std::int64_t target) {
    export_hugging_face(describe_model(model_), factors_, target, out_, HuggingFaceTarget::k5);
  };
  EXPECT_THAT(refusal([&] { export_to(kOriginalLength); }), HasSubstr("1024"));
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(HuggingFaceExportTest, FailureOnTheWayLeavesNothing) {
  fs::remove(model_ / "model.safetensors");
  EXPECT_THROW(static_cast<void>(exported(HuggingFaceTarget::k5)), Error);
  EXPECT_EQ(entries(), 1U);
}

}  // namespace
}  // namespace longrope

#include "pipeline/hand_off.h"

#include "common/error.h"
#include "common/files/safetensors_file.h"
#include "common/formats/factors_file.h"
#include "common/model/model_description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <functional>
#include <map>

namespace longrope {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class HandOffTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::vector<double> lambda(32);
    for (std::size_t pair = 0; pair < lambda.size(); ++pair) lambda[pair] = 1.0 + 0.1 * static_cast<double>(pair);
    hand_off_.factors = exact_factors(lambda, 0, {AttentionPolicy::kValue, 1.1});
    write_hand_off(hand_off_, handed_, checkpoints_);
  }
  [[nodiscard]] static nlohmann::json json(const fs::path& file) {
    std::ifstream stream(file);
    return nlohmann::json::parse(stream);
  }
  /// The model handed off with new weights, as a trainer that did its work leaves it.
  fs::path trained(const std::function<void(std::map<std::string, TensorToWrite>&)>& change) const {
    const fs::path out = folder_ / "trained";
    fs::remove_all(out);
    fs::create_directories(out);
    fs::copy_file(handed_ / "model" / "config.json", out / "config.json");
    const SafetensorsFile weights(handed_ / "model" / "model.safetensors");
    std::map<std::string, TensorToWrite> tensors;
    for (const auto& [name, tensor] : weights.tensors()) tensors[name] = {tensor.dtype, tensor.shape, tensor.bytes};
    change(tensors);
    write_safetensors(out / "model.safetensors", tensors, {});
    return out;
  }
  static void train(std::map<std::string, TensorToWrite>& tensors) {
    static const std::vector<std::byte> kZeros(258 * 256 * 2);
    tensors.at("lm_head.weight").bytes = std::span(kZeros).first(tensors.at("lm_head.weight").bytes.size());
  }
  [[nodiscard]] std::string refusal(const fs::path& checkpoint) const {
    try {
      require_trained_from(handed_, checkpoint, checkpoints_);
    } catch (const InputError& error) {
      return error.what();
    }
    return "(not refused)";
  }

  fs::path folder_ = fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
  fs::path handed_ = folder_ / "hand-off";
  mutable Checkpoints checkpoints_;
  HandOff hand_off_ = {.stage = "tune",
                       .model = LONGROPE_SOURCE_DIR "/models/byte-llama",
                       .model_digest = model_digest(LONGROPE_SOURCE_DIR "/models/byte-llama"),
                       .documents = "/data/train.safetensors",
                       .factors = {},
                       .target_length = 2048,
                       .length = 1024,
                       .settings = {.steps = 400, .learning_rate = 2e-5},
                       .completion = "longrope stage complete tune"};
};

TEST_F(HandOffTest, ModelCarriesTheFactorsAtEveryLength) {
  const ModelDescription model = describe_model(handed_ / "model");
  EXPECT_EQ(model.scaling.beyond_original.lambda, hand_off_.factors.lambda);
  EXPECT_EQ(model.scaling.up_to_original.lambda, hand_off_.factors.lambda) << "engines must not take another table";
  EXPECT_EQ(model.geometry.original_length, 512);
  EXPECT_EQ(model.scaling.reached_length, 2048);
  EXPECT_DOUBLE_EQ(model.scaling.beyond_original.attention.value, 1.1);
}

TEST_F(HandOffTest, ManifestNamesEverythingByDigest) {
  const nlohmann::json manifest = json(handed_ / "manifest.json");
  EXPECT_EQ(manifest.at("schema"), "longrope-hand-off/1");
  EXPECT_EQ(manifest.at("model").at("sha256"), model_digest(handed_ / "model"));
  EXPECT_EQ(manifest.at("factors").at("digest"), digest(hand_off_.factors));
  EXPECT_EQ(manifest.at("documents"), "/data/train.safetensors");
  EXPECT_EQ(manifest.at("sample_length"), 1024);
  EXPECT_EQ(manifest.at("settings"), (nlohmann::json{{"steps", 400}, {"learning_rate", 2e-5}})) << "numbers, not texts";
  EXPECT_EQ(manifest.at("when_done"), "longrope stage complete tune");
}

TEST_F(HandOffTest, FactorFilesHoldTheFactors) {
  EXPECT_EQ(read_factors(handed_ / "factors.json").lambda, hand_off_.factors.lambda);
  EXPECT_EQ(read_factors(handed_ / "factors.csv").lambda, hand_off_.factors.lambda);
}

TEST_F(HandOffTest, FolderThatIsThereIsKept) {
  const auto written = fs::last_write_time(handed_ / "manifest.json");
  write_hand_off(hand_off_, handed_, checkpoints_);
  EXPECT_EQ(fs::last_write_time(handed_ / "manifest.json"), written);
}

TEST_F(HandOffTest, TrainedCheckpointIsTaken) {
  EXPECT_NO_THROW(require_trained_from(handed_, trained(train), checkpoints_));
}

TEST_F(HandOffTest, CheckpointWithOtherTensorsIsRefused) {
  EXPECT_THAT(refusal(trained([](auto& tensors) {
                train(tensors);
                tensors.erase("model.norm.weight");
              })),
              HasSubstr("no model.norm.weight"));
  EXPECT_THAT(refusal(trained([](auto& tensors) {
                train(tensors);
                tensors["lora_A"] = tensors.at("model.norm.weight");
              })),
              HasSubstr("merge adapters first"));
  EXPECT_THAT(refusal(trained([](auto& tensors) {
                train(tensors);
                tensors.at("model.norm.weight").shape = {2, 128};
              })),
              HasSubstr("must keep its shape, [256]: model.norm.weight is [2, 128]"));
}

TEST_F(HandOffTest, CheckpointOfADtypeThatNoStageReadsIsRefused) {
  EXPECT_THAT(refusal(trained([](auto& tensors) {
                train(tensors);
                tensors.at("model.norm.weight").dtype = "I16";
              })),
              HasSubstr("weights must be F32, F16 or BF16: model.norm.weight is I16"));
}

TEST_F(HandOffTest, CheckpointWithOtherFactorsIsRefused) {
  const fs::path checkpoint = trained(train);
  nlohmann::json config = json(checkpoint / "config.json");
  config.at("rope_parameters").at("long_factor").at(5) = 7.0;
  std::ofstream(checkpoint / "config.json") << config;
  EXPECT_THAT(refusal(checkpoint), HasSubstr("factor 5 of its config.json differs"));
  config = json(handed_ / "model" / "config.json");
  config.at("rope_parameters").at("attention_factor") = 1.2;
  std::ofstream(checkpoint / "config.json") << config;
  EXPECT_THAT(refusal(checkpoint), HasSubstr("attention_factor must be the one handed off, 1.1: 1.2"));
  EXPECT_THAT(refusal(hand_off_.model), HasSubstr("must have been trained with the factors handed off"));
}

TEST_F(HandOffTest, CheckpointWithOtherNumbersThatNoShapeShowsIsRefused) {
  const fs::path checkpoint = trained(train);
  const nlohmann::json handed = json(checkpoint / "config.json");
  const auto refusal_with = [&](const auto& change) {
    nlohmann::json config = handed;
    change(config);
    std::ofstream(checkpoint / "config.json") << config;
    return refusal(checkpoint);
  };
  EXPECT_THAT(refusal_with([](auto& config) { config.at("rope_parameters").at("rope_theta") = 20000.0; }),
              HasSubstr("rope_theta must be that of the model handed off, 10000: 20000 ("));
  EXPECT_THAT(refusal_with([](auto& config) { config.at("max_position_embeddings") = 4096; }),
              HasSubstr("max_position_embeddings must be that of the model handed off, 2048: 4096 ("));
  EXPECT_THAT(refusal_with([](auto& config) { config.at("rms_norm_eps") = 0.5; }), HasSubstr("rms_norm_eps must be"));
}

TEST_F(HandOffTest, TokenizerMustComeBackAsItWas) {
  const fs::path checkpoint = trained(train);
  std::ofstream(handed_ / "model" / "tokenizer.json") << R"({"version": "1.0"})";
  EXPECT_THAT(refusal(checkpoint), HasSubstr("tokenizer.json must be the one handed off, which documents are known by: "
                                             "none (copy "));
  std::ofstream(checkpoint / "tokenizer.json") << R"({ "version": "1.0" })";
  EXPECT_THAT(refusal(checkpoint), HasSubstr("known by: another"));
  fs::copy_file(handed_ / "model" / "tokenizer.json", checkpoint / "tokenizer.json",
                fs::copy_options::overwrite_existing);
  EXPECT_EQ(refusal(checkpoint), "(not refused)");
}

TEST_F(HandOffTest, TrainerOnTransformers4GetsItsForm) {
  hand_off_.settings.target = HuggingFaceTarget::k4;
  const fs::path folder = folder_ / "for-4";
  write_hand_off(hand_off_, folder, checkpoints_);
  const nlohmann::json config = json(folder / "model" / "config.json");
  EXPECT_EQ(config.at("rope_scaling").at("long_factor").get<std::vector<double>>(), hand_off_.factors.lambda);
  EXPECT_FALSE(config.contains("rope_parameters"));
  EXPECT_EQ(json(folder / "manifest.json").at("transformers"), 4);
}

TEST_F(HandOffTest, WeightsThatWereHandedOffAreRefused) {
  EXPECT_THAT(refusal(handed_ / "model"), HasSubstr("must have new weights"));
}

}  // namespace
}  // namespace longrope

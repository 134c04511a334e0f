#include "common/model/expected_tensors.h"

#include "common/error.h"
#include "common/sha256.h"
#include "tests/support/constant_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <utility>

namespace longrope {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

/// A model of two layers: 2 query heads of 4 channels, 1 key-value head.
class ExpectedTensorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  /// The model with `changes` merged into its config.json.
  [[nodiscard]] ModelDescription model(const nlohmann::json& changes = nlohmann::json::object()) const {
    nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                             {"hidden_size", 8},
                             {"intermediate_size", 12},
                             {"max_position_embeddings", 64},
                             {"num_attention_heads", 2},
                             {"num_hidden_layers", 2},
                             {"num_key_value_heads", 1},
                             {"vocab_size", 10}};
    config.merge_patch(changes);
    std::ofstream(directory_ / "config.json") << config;
    return describe_model(directory_);
  }
  [[nodiscard]] static std::string refusal(const ModelDescription& model) {
    try {
      require_usable_weights(model);
    } catch (const InputError& error) {
      return error.what();
    }
    return "(not refused)";
  }
  /// Why a checkpoint of the model is refused once `change` was made to its weights.
  template <typename Change>
  [[nodiscard]] std::string refusal_after(const Change& change) const {
    const ModelDescription described = model();
    ConstantWeights weights(described, 0.5F);
    change(weights);
    weights.write(directory_);
    return refusal(described);
  }
  static std::set<std::pair<std::string, std::vector<std::int64_t>>> names_and_shapes(const ModelDescription& model) {
    std::set<std::pair<std::string, std::vector<std::int64_t>>> result;
    for (const auto& [name, shape] : expected_tensors(model)) result.emplace(name, shape);
    return result;
  }
  /// A tied checkpoint that also holds an lm_head.
  [[nodiscard]] ConstantWeights tied_with_lm_head() const {
    ConstantWeights weights(model(tied_), 0.5F);
    weights.set(kOutputEmbeddingName, {10, 8}, 0.5F);
    return weights;
  }

  const nlohmann::json tied_ = {{"tie_word_embeddings", true}};
  std::filesystem::path directory_ = std::filesystem::path(::testing::TempDir()) / "expected_tensors_test" /
                                     ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(ExpectedTensorsTest, NamesAndShapesAreThoseOfHuggingFace) {
  const auto llama = names_and_shapes(model());
  EXPECT_EQ(llama.size(), 3U + 2U * 9U);
  EXPECT_THAT(llama, IsSupersetOf(names_and_shapes(model(tied_))));
  const std::set<std::pair<std::string, std::vector<std::int64_t>>> some = {
      {"model.embed_tokens.weight", {10, 8}},
      {"lm_head.weight", {10, 8}},
      {"model.norm.weight", {8}},
      {"model.layers.1.input_layernorm.weight", {8}},
      {"model.layers.1.post_attention_layernorm.weight", {8}},
      {"model.layers.1.self_attn.q_proj.weight", {8, 8}},
      {"model.layers.1.self_attn.k_proj.weight", {4, 8}},
      {"model.layers.1.self_attn.v_proj.weight", {4, 8}},
      {"model.layers.1.self_attn.o_proj.weight", {8, 8}},
      {"model.layers.1.mlp.gate_proj.weight", {12, 8}},
      {"model.layers.1.mlp.up_proj.weight", {12, 8}},
      {"model.layers.1.mlp.down_proj.weight", {8, 12}}};
  EXPECT_THAT(llama, IsSupersetOf(some));
  const auto qwen2 = names_and_shapes(model({{"architectures", {"Qwen2ForCausalLM"}}}));
  EXPECT_TRUE(qwen2.contains({"model.layers.0.self_attn.k_proj.bias", {4}}));
  EXPECT_FALSE(qwen2.contains({"model.layers.0.self_attn.o_proj.bias", {8}}));
  EXPECT_TRUE(names_and_shapes(model({{"architectures", {"Qwen3ForCausalLM"}}, {"head_dim", 4}}))
                  .contains({"model.layers.0.self_attn.q_norm.weight", {4}}));
  const auto phi3 = names_and_shapes(model({{"architectures", {"Phi3ForCausalLM"}}}));
  EXPECT_TRUE(phi3.contains({"model.layers.0.self_attn.qkv_proj.weight", {16, 8}}));
  EXPECT_TRUE(phi3.contains({"model.layers.0.mlp.gate_up_proj.weight", {24, 8}}));
}

TEST_F(ExpectedTensorsTest, CompleteCheckpointIsUsable) {
  EXPECT_EQ(refusal_after([](ConstantWeights&) {}), "(not refused)");
  EXPECT_EQ(refusal_after([](ConstantWeights& weights) { weights.set("model.rotary_emb.inv_freq", {1}, 1.0F); }),
            "(not refused)");
}

TEST_F(ExpectedTensorsTest, GitLfsPointerIsRefusedWithTheCommandThatFetchesTheFile) {
  const ModelDescription described = model();
  std::ofstream(directory_ / "model.safetensors")
      << "version https://git-lfs.github.com/spec/v1\noid sha256:" << std::string(64, '0') << "\nsize 13476838\n";
  EXPECT_THAT(refusal(described), AllOf(HasSubstr("git lfs pull"), EndsWith("model.safetensors)")));
}

TEST_F(ExpectedTensorsTest, OtherFilesOfWeightsAreRefusedWithTheirConversion) {
  const ModelDescription described = model();
  EXPECT_THAT(refusal(described), HasSubstr("a weight file must exist: "));
  std::ofstream(directory_ / "model.gguf") << "x";
  EXPECT_THAT(refusal(described), HasSubstr("there is only model.gguf"));
  std::ofstream(directory_ / "pytorch_model.bin") << "x";
  EXPECT_THAT(refusal(described),
              AllOf(HasSubstr("there is only pytorch_model.bin: convert it to safetensors"),
                    HasSubstr("from_pretrained(\"" + directory_.native()), HasSubstr("save_pretrained")));
}

TEST_F(ExpectedTensorsTest, AdapterAloneMustBeMerged) {
  const ModelDescription described = model();
  std::ofstream(directory_ / "adapter_config.json") << "{}";
  EXPECT_THAT(refusal(described), AllOf(HasSubstr("merge the adapter"), HasSubstr("merge_and_unload")));
  std::filesystem::remove(directory_ / "config.json");
  EXPECT_THAT([&] { (void)describe_model(directory_); },
              ::testing::ThrowsMessage<InputError>(HasSubstr("merge_and_unload")));
}

TEST_F(ExpectedTensorsTest, AdapterBesideTheModelIsSaidNotToBeApplied) {
  ConstantWeights(model(), 0.5F).write(directory_);
  EXPECT_THAT(model().warnings, IsEmpty());
  std::ofstream(directory_ / "adapter_config.json") << "{}";
  ASSERT_EQ(model().warnings.size(), 1U);
  EXPECT_THAT(model().warnings.front(), HasSubstr("an adapter lies beside the model and is not applied"));
  EXPECT_EQ(refusal(model()), "(not refused)");
}

TEST_F(ExpectedTensorsTest, DtypesThatAreNotReadAreRefusedWithWhatHelps) {
  EXPECT_THAT(refusal_after([](ConstantWeights& weights) {
                weights.set("model.norm.weight", {16}, 0.0F);
                weights.reinterpret("model.norm.weight", "F64", 8);
              }),
              AllOf(HasSubstr("weights must be F32, F16 or BF16: model.norm.weight is F64; save them as float32"),
                    HasSubstr("dtype=\"float32\""), EndsWith("model.safetensors)")));
  for (const char* const dtype : {"F8_E4M3", "U8"}) {
    EXPECT_THAT(refusal_after([&](ConstantWeights& weights) {
                  weights.set("model.norm.weight", {2}, 0.0F);
                  weights.reinterpret("model.norm.weight", dtype, 1);
                }),
                HasSubstr(std::string(dtype) + "; the weights are quantized: take the checkpoint that they were"));
  }
  EXPECT_THAT(refusal_after([](ConstantWeights& weights) {
                weights.rename("model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.qweight");
              }),
              AllOf(HasSubstr("missing tensor"), HasSubstr("the weights are quantized")));
}

TEST_F(ExpectedTensorsTest, MissingLmHeadNamesTheKeyThatTiesIt) {
  EXPECT_THAT(refusal_after([](ConstantWeights& weights) { weights.erase("lm_head.weight"); }),
              AllOf(HasSubstr("missing tensor: lm_head.weight"), HasSubstr("set tie_word_embeddings to true")));
}

TEST_F(ExpectedTensorsTest, MissingTensorUnderAnotherNameIsFound) {
  EXPECT_THAT(refusal_after([](ConstantWeights& weights) { weights.rename("model.norm.weight", "norm.weight"); }),
              HasSubstr("missing tensor: model.norm.weight; here it is norm.weight: save the model again"));
  EXPECT_THAT(refusal_after([](ConstantWeights& weights) { weights.erase("model.norm.weight"); }),
              HasSubstr("missing tensor: model.norm.weight ("));
}

TEST_F(ExpectedTensorsTest, PaddedVocabularyNamesTheKeyThatCountsIt) {
  EXPECT_THAT(refusal_after([](ConstantWeights& weights) {
                weights.set("model.embed_tokens.weight", {16, 8}, 0.0F);
                weights.set("lm_head.weight", {16, 8}, 0.0F);
              }),
              AllOf(HasSubstr("shape mismatch: model.embed_tokens.weight is [16, 8], config.json gives [10, 8]"),
                    HasSubstr("set vocab_size to 16")));
  EXPECT_THAT(refusal_after([](ConstantWeights& weights) { weights.set("model.embed_tokens.weight", {10, 6}, 0.0F); }),
              HasSubstr("config.json gives [10, 8] ("));
}

TEST_F(ExpectedTensorsTest, TensorOfNoArchitectureIsRefused) {
  EXPECT_THAT(refusal_after([](ConstantWeights& weights) { weights.set("model.extra.weight", {1}, 0.0F); }),
              HasSubstr("every tensor must belong to the architecture: model.extra.weight does not ("));
  EXPECT_THAT(refusal_after([](ConstantWeights& weights) {
                weights.set("model.layers.0.self_attn.q_proj.lora_A.weight", {1}, 0.0F);
              }),
              HasSubstr("merge the adapter first"));
}

TEST_F(ExpectedTensorsTest, LmHeadThatDiffersFromATiedEmbeddingIsKeptApartAndSaid) {
  ConstantWeights weights = tied_with_lm_head();
  weights.values(kOutputEmbeddingName).back() = 0.25F;
  weights.write(directory_);
  const ModelDescription described = model(tied_);
  EXPECT_FALSE(described.tied_embeddings);
  ASSERT_EQ(described.warnings.size(), 1U);
  EXPECT_THAT(described.warnings.front(),
              AllOf(HasSubstr("tie_word_embeddings is true, but"), HasSubstr("config.json")));
  EXPECT_EQ(refusal(described), "(not refused)");
}

TEST_F(ExpectedTensorsTest, DigestTellsThatTheLmHeadIsKeptApart) {
  const auto digest_of_files = [&] {
    Sha256 hash;
    for (const char* const file : {"config.json", "model.safetensors"}) {
      hash.field(file).field(sha256_of_file(directory_ / file));
    }
    return hash.hex();
  };
  ConstantWeights weights = tied_with_lm_head();
  weights.write(directory_);
  (void)model(tied_);  // writes config.json
  EXPECT_EQ(model_digest(directory_), digest_of_files());
  weights.values(kOutputEmbeddingName).back() = 0.25F;
  weights.write(directory_);
  EXPECT_NE(model_digest(directory_), digest_of_files()) << "it was scored with the embedding before";
}

TEST_F(ExpectedTensorsTest, LmHeadThatRepeatsATiedEmbeddingIsTheEmbedding) {
  ConstantWeights weights = tied_with_lm_head();
  weights.values(kEmbeddingName).front() = 0.0F;
  weights.values(kOutputEmbeddingName).front() = -0.0F;  // equal numbers, as torch.equal() compares
  weights.write(directory_);
  const ModelDescription described = model(tied_);
  EXPECT_TRUE(described.tied_embeddings);
  EXPECT_THAT(described.warnings, IsEmpty());
  EXPECT_EQ(refusal(described), "(not refused)");
}

TEST_F(ExpectedTensorsTest, HalfPrecisionLmHeadsAreComparedToo) {
  for (const char* const dtype : {"F16", "BF16"}) {
    ConstantWeights weights = tied_with_lm_head();
    for (const char* const name : {kEmbeddingName, kOutputEmbeddingName}) {
      weights.set(name, {10, 4}, 0.5F);
      weights.reinterpret(name, dtype, 2);
    }
    weights.write(directory_);
    EXPECT_TRUE(model(tied_).tied_embeddings) << dtype;
    weights.values(kOutputEmbeddingName).back() = 0.25F;
    weights.write(directory_);
    EXPECT_FALSE(model(tied_).tied_embeddings) << dtype;
  }
}

TEST_F(ExpectedTensorsTest, TiedLmHeadOfAnotherShapeOrDtypeIsRefused) {
  ConstantWeights weights = tied_with_lm_head();
  weights.set(kOutputEmbeddingName, {16, 8}, 0.5F);
  weights.write(directory_);
  EXPECT_THAT(refusal(model(tied_)), AllOf(HasSubstr("lm_head.weight must have shape and dtype of the embedding"),
                                           HasSubstr("F32 [16, 8]"), HasSubstr("F32 [10, 8]")));
  weights.set(kOutputEmbeddingName, {10, 4}, 0.5F);
  weights.reinterpret(kOutputEmbeddingName, "BF16", 2);
  weights.write(directory_);
  EXPECT_THAT(refusal(model(tied_)), HasSubstr("it is BF16 [10, 8], model.embed_tokens.weight is F32 [10, 8]"));
}

}  // namespace
}  // namespace longrope

#include "worker/model/transformer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/error.h"
#include "common/rotary_table.h"
#include "tests/worker/reference_transformer.h"

namespace longrope {
namespace {

using ::testing::HasSubstr;

class TransformerTest : public ::testing::Test {
 protected:
  Transformer load(const ReferenceTransformer& reference, const Placement& placement) {
    reference.write(directory_);
    description_ = describe_model(directory_);
    Checkpoint checkpoint(directory_);
    return {description_, checkpoint, placement};
  }
  [[nodiscard]] at::Tensor logits(const Transformer& transformer, const Placement& placement,
                                  const RescaleFactors& factors, const Document& document) const {
    const auto length = static_cast<std::int64_t>(document.tokens.size());
    const RotaryTable rotary = rotary_table(description_.geometry, factors, 0, length, AngleMode::kFp64);
    const at::Tensor normed = transformer.final_norm(transformer.residual_stream(document.tokens, rotary, [] {}));
    return at::mm(normed, transformer.output_embedding().to(placement.arithmetic).t()).to(at::kDouble);
  }
  static at::Tensor expected_logits(const ReferenceTransformer& reference, const RescaleFactors& factors,
                                    const Document& document) {
    const auto length = static_cast<std::int64_t>(document.tokens.size());
    const auto rows = reference.logits(factors, document.tokens, length);
    const auto width = static_cast<std::int64_t>(rows.front().size());
    at::Tensor result = at::empty({length, width}, at::TensorOptions().dtype(at::kDouble));
    for (std::int64_t row = 0; row < length; ++row) {
      std::ranges::copy(rows[static_cast<std::size_t>(row)], result[row].data_ptr<double>());
    }
    return result;
  }
  void expect_refused(const ReferenceTransformer& reference, const std::string& message) {
    try {
      (void)load(reference, {});
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  }

  void expect_refused_without(const ReferenceShape& shape, const std::string& tensor) {
    ReferenceTransformer reference(shape);
    ASSERT_EQ(reference.tensors.erase(tensor), 1U) << tensor;
    expect_refused(reference, "missing tensor: " + tensor);
  }

  std::filesystem::path directory_ = fresh_directory();
  ModelDescription description_;
};

TEST_F(TransformerTest, Float32LogitsAgreeWithDoublePrecisionReference) {
  const ReferenceTransformer reference({.dtype = "BF16"});
  const Transformer transformer = load(reference, {});
  const RescaleFactors factors = rising_factors(32, 8.0, 3, 1.2);
  const Document document = random_document(40, 61, 3);
  const at::Tensor difference =
      logits(transformer, {}, factors, document) - expected_logits(reference, factors, document);
  EXPECT_LT(difference.abs().max().item<double>(), 1e-4);  // logits reach about ±10
}

TEST_F(TransformerTest, Bfloat16ArithmeticStaysWithinItsRounding) {
  // What runs on CUDA and on CPUs with bfloat16 products; here Torch's portable kernels compute the same.
  const ReferenceTransformer reference({.dtype = "BF16"});
  const Placement placement{.weights = at::kBFloat16, .arithmetic = at::kBFloat16};
  const Transformer transformer = load(reference, placement);
  const RescaleFactors factors = rising_factors(32, 8.0, 3, 1.2);
  const Document document = random_document(40, 61, 3);
  const at::Tensor expected = expected_logits(reference, factors, document);
  const at::Tensor difference = logits(transformer, placement, factors, document) - expected;
  // bfloat16 keeps 8 bits; a few dozen roundings of about 0.2 % each add up to a few percent.
  const double error = (difference.square().mean().sqrt() / expected.square().mean().sqrt()).item<double>();
  EXPECT_LT(error, 0.05);
}

TEST_F(TransformerTest, OneProgressTickFollowsEachTile) {
  const ReferenceTransformer reference({.layers = 3});
  const Transformer transformer = load(reference, {});
  const std::int64_t length = Transformer::kTileTokens + 1;
  const Document document = random_document(length, 61, 4);
  const RotaryTable rotary =
      rotary_table(description_.geometry, rising_factors(32, 1.0, 0, 1.0), 0, length, AngleMode::kFp64);
  std::int64_t ticks = 0;
  (void)transformer.residual_stream(document.tokens, rotary, [&] { ++ticks; });
  EXPECT_EQ(ticks, 3 * (2 + 1 + 2));  // layers × (projection tiles + attention + feed-forward tiles)
}

TEST_F(TransformerTest, MissingTensorIsRefusedByName) {
  ReferenceTransformer reference({});
  reference.tensors.erase("model.layers.1.mlp.up_proj.weight");
  expect_refused(reference, "missing tensor: model.layers.1.mlp.up_proj.weight");
}

TEST_F(TransformerTest, ShapeMismatchIsRefusedByName) {
  ReferenceTransformer reference({});
  reference.tensors.at("model.layers.0.self_attn.k_proj.weight").shape = {48, 128};
  expect_refused(reference,
                 "shape mismatch: model.layers.0.self_attn.k_proj.weight is [48, 128], config.json gives [128, 48]");
}

TEST_F(TransformerTest, TensorOfAnotherArchitectureIsRefusedByName) {
  ReferenceTransformer reference({});
  reference.tensors["model.layers.0.self_attn.q_proj.bias"] = {{256}, std::vector<float>(256)};
  expect_refused(reference, "model.layers.0.self_attn.q_proj.bias");
}

TEST_F(TransformerTest, TensorsOfEachFamilyAreDemandedByName) {
  expect_refused_without({.query_key_value_bias = true, .attention_output_bias = true},
                         "model.layers.0.self_attn.o_proj.bias");
  expect_refused_without({.feed_forward_bias = true}, "model.layers.1.mlp.up_proj.bias");
  expect_refused_without({.architecture = "Qwen2ForCausalLM", .query_key_value_bias = true},
                         "model.layers.1.self_attn.k_proj.bias");
  expect_refused_without({.architecture = "Qwen3ForCausalLM", .query_key_norm = true},
                         "model.layers.0.self_attn.k_norm.weight");
  ReferenceTransformer unfused({.architecture = "Phi3ForCausalLM"});
  expect_refused(unfused, "missing tensor: model.layers.0.self_attn.qkv_proj.weight");
}

TEST_F(TransformerTest, OneTokenIsEnough) {
  const ReferenceTransformer reference({});
  const Transformer transformer = load(reference, {});
  const RescaleFactors factors = rising_factors(32, 8.0, 0, 1.2);
  const Document document = random_document(1, 61, 3);
  const at::Tensor difference =
      logits(transformer, {}, factors, document) - expected_logits(reference, factors, document);
  EXPECT_LT(difference.abs().max().item<double>(), 1e-4);
}

TEST_F(TransformerTest, StoredInverseFrequenciesAreIgnored) {
  ReferenceTransformer reference({});
  reference.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{32}, std::vector<float>(32)};
  EXPECT_NO_THROW((void)load(reference, {}));
}

}  // namespace
}  // namespace longrope

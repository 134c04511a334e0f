#include "worker/model/llama.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/error.h"
#include "common/rotary_table.h"
#include "tests/worker/reference_llama.h"

namespace longrope {
namespace {

using ::testing::HasSubstr;

class LlamaTest : public ::testing::Test {
 protected:
  Llama load(const ReferenceLlama& reference, const Placement& placement) {
    reference.write(directory_);
    description_ = describe_model(directory_);
    Checkpoint checkpoint(directory_);
    return {description_, checkpoint, placement};
  }
  [[nodiscard]] at::Tensor logits(const Llama& llama, const Placement& placement, const RescaleFactors& factors,
                                  const Document& document) const {
    const auto length = static_cast<std::int64_t>(document.tokens.size());
    const RotaryTable rotary = rotary_table(description_.geometry, factors, 0, length, AngleMode::kFp64);
    const at::Tensor normed = llama.final_norm(llama.residual_stream(document.tokens, rotary, [] {}));
    return at::mm(normed, llama.output_embedding().to(placement.arithmetic).t()).to(at::kDouble);
  }
  static at::Tensor expected_logits(const ReferenceLlama& reference, const RescaleFactors& factors,
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
  void expect_refused(const ReferenceLlama& reference, const std::string& message) {
    try {
      (void)load(reference, {});
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  }

  std::filesystem::path directory_ = fresh_directory();
  ModelDescription description_;
};

TEST_F(LlamaTest, Float32LogitsAgreeWithDoublePrecisionReference) {
  const ReferenceLlama reference({.dtype = "BF16"});
  const Llama llama = load(reference, {});
  const RescaleFactors factors = rising_factors(32, 8.0, 3, 1.2);
  const Document document = random_document(40, 61, 3);
  const at::Tensor difference = logits(llama, {}, factors, document) - expected_logits(reference, factors, document);
  EXPECT_LT(difference.abs().max().item<double>(), 1e-4);  // logits reach about ±10
}

TEST_F(LlamaTest, Bfloat16ArithmeticStaysWithinItsRounding) {
  // What runs on CUDA and on CPUs with bfloat16 products; here Torch's portable kernels compute the same.
  const ReferenceLlama reference({.dtype = "BF16"});
  const Placement placement{.weights = at::kBFloat16, .arithmetic = at::kBFloat16};
  const Llama llama = load(reference, placement);
  const RescaleFactors factors = rising_factors(32, 8.0, 3, 1.2);
  const Document document = random_document(40, 61, 3);
  const at::Tensor expected = expected_logits(reference, factors, document);
  const at::Tensor difference = logits(llama, placement, factors, document) - expected;
  // bfloat16 keeps 8 bits; a few dozen roundings of about 0.2 % each add up to a few percent.
  const double error = (difference.square().mean().sqrt() / expected.square().mean().sqrt()).item<double>();
  EXPECT_LT(error, 0.05);
}

TEST_F(LlamaTest, OneProgressTickFollowsEachTile) {
  const ReferenceLlama reference({.layers = 3});
  const Llama llama = load(reference, {});
  const std::int64_t length = Llama::kTileTokens + 1;
  const Document document = random_document(length, 61, 4);
  const RotaryTable rotary =
      rotary_table(description_.geometry, rising_factors(32, 1.0, 0, 1.0), 0, length, AngleMode::kFp64);
  std::int64_t ticks = 0;
  (void)llama.residual_stream(document.tokens, rotary, [&] { ++ticks; });
  EXPECT_EQ(ticks, 3 * (2 + 1 + 2));  // layers × (projection tiles + attention + feed-forward tiles)
}

TEST_F(LlamaTest, MissingTensorIsRefusedByName) {
  ReferenceLlama reference({});
  reference.tensors.erase("model.layers.1.mlp.up_proj.weight");
  expect_refused(reference, "missing tensor: model.layers.1.mlp.up_proj.weight");
}

TEST_F(LlamaTest, ShapeMismatchIsRefusedByName) {
  ReferenceLlama reference({});
  reference.tensors.at("model.layers.0.self_attn.k_proj.weight").shape = {48, 128};
  expect_refused(reference,
                 "shape mismatch: model.layers.0.self_attn.k_proj.weight is [48, 128], config.json gives [128, 48]");
}

TEST_F(LlamaTest, TensorOfAnotherArchitectureIsRefusedByName) {
  ReferenceLlama reference({});
  reference.tensors["model.layers.0.self_attn.q_proj.bias"] = {{256}, std::vector<float>(256)};
  expect_refused(reference, "model.layers.0.self_attn.q_proj.bias");
}

TEST_F(LlamaTest, StoredInverseFrequenciesAreIgnored) {
  ReferenceLlama reference({});
  reference.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{32}, std::vector<float>(32)};
  EXPECT_NO_THROW((void)load(reference, {}));
}

}  // namespace
}  // namespace longrope

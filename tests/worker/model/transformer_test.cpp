#include "worker/model/transformer.h"

#include "common/error.h"
#include "common/rope/rotary_table.h"
#include "tests/worker/reference_transformer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using ::testing::HasSubstr;

class TransformerTest : public ::testing::Test {
 protected:
  Transformer load(const ReferenceTransformer& reference, const Placement& placement,
                   WeightSource source = WeightSource::kMemory) {
    reference.write(directory_);
    description_ = describe_model(directory_);
    return {description_, Checkpoint(directory_), placement, source};
  }
  [[nodiscard]] RotaryFrequencies frequencies_of(const RescaleFactors& factors) const {
    return {description_.geometry, factors, AngleMode::kFp64, "test"};
  }
  [[nodiscard]] at::Tensor residuals(
      Transformer& transformer, const Document& document, std::span<const RescaleFactors> candidates,
      std::int64_t tile_tokens, std::function<void()> tile_finished = [] {}) {
    std::vector<RotaryFrequencies> frequencies;
    for (const RescaleFactors& factors : candidates) frequencies.push_back(frequencies_of(factors));
    return transformer.residual_streams(document.tokens, frequencies, tile_tokens,
                                        {.tile_finished = std::move(tile_finished), .clock = untimed_});
  }
  [[nodiscard]] at::Tensor logits(Transformer& transformer, const RescaleFactors& factors, const Document& document) {
    const at::Tensor residual = residuals(transformer, document, std::span(&factors, 1), 1152);
    const at::Tensor result = at::empty({residual.size(0), 61}, residual.options());
    transformer.output_projection(0, 61).write(transformer.final_norm(residual), result);
    return result.to(at::kDouble);
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
  /// √(Σ difference² / Σ expected²) of the logits of a document, weights rounded to bfloat16 on both sides.
  double relative_error(const Placement& placement, WeightSource source) {
    const ReferenceTransformer reference({.dtype = "BF16"});
    Transformer transformer = load(reference, placement, source);
    const RescaleFactors factors = rising_factors(32, 8.0, 3, 1.2);
    const Document document = random_document(40, 61, 3);
    const at::Tensor expected = expected_logits(reference, factors, document);
    const at::Tensor difference = logits(transformer, factors, document) - expected;
    return (difference.square().mean().sqrt() / expected.square().mean().sqrt()).item<double>();
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
  PhaseClock untimed_{{}};
};

TEST_F(TransformerTest, Float32LogitsAgreeWithDoublePrecisionReference) {
  const ReferenceTransformer reference({.dtype = "BF16"});
  Transformer transformer = load(reference, {});
  const RescaleFactors factors = rising_factors(32, 8.0, 3, 1.2);
  const Document document = random_document(40, 61, 3);
  const at::Tensor difference = logits(transformer, factors, document) - expected_logits(reference, factors, document);
  EXPECT_LT(difference.abs().max().item<double>(), 1e-4);  // logits reach about ±10
}

TEST_F(TransformerTest, Bfloat16ArithmeticStaysWithinItsRounding) {
  // What runs on CUDA; here Torch's portable kernels compute the same. bfloat16 keeps 8 bits; a few dozen roundings of
  // about 0.2 % each add up to a few percent.
  EXPECT_LT(relative_error({.weights = at::kBFloat16, .arithmetic = at::kBFloat16, .products = at::kBFloat16},
                           WeightSource::kMemory),
            0.05);
}

TEST_F(TransformerTest, Bfloat16ProductsStayWithinTheirRounding) {
  const Placement placement{.weights = at::kBFloat16, .products = at::kBFloat16};
  if (kernels_for(placement) == nullptr) GTEST_SKIP() << "NOT RUN: this processor has no AVX512-BF16";
  // A fraction of that of bfloat16 arithmetic: the residual stream and all that is no product stay in float32.
  EXPECT_LT(relative_error(placement, WeightSource::kReady), 0.015);
}

TEST_F(TransformerTest, ProgressTicksAreKnownBeforehand) {
  const ReferenceTransformer reference({.layers = 3});
  Transformer transformer = load(reference, {});
  const Document document = random_document(600, 61, 4);
  const std::vector<RescaleFactors> candidates(2, rising_factors(32, 1.0, 0, 1.0));
  for (const std::int64_t tile_tokens : {256, 1152}) {
    std::atomic<std::int64_t> ticks = 0;
    (void)residuals(transformer, document, candidates, tile_tokens, [&] { ++ticks; });
    EXPECT_EQ(ticks, 2 * transformer.ticks(600, tile_tokens));
  }
}

TEST_F(TransformerTest, ResidualStreamIsBitEqualForAnyTileNumberOfThreadsAndSourceOfWeights) {
  if (cpu_kernels(OperandType::kFloat32) == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  }
  const ReferenceTransformer reference({.architecture = "Qwen3ForCausalLM", .query_key_norm = true});
  const RescaleFactors factors = rising_factors(32, 8.0, 3, 1.2);
  const Document document = random_document(500, 61, 3);
  const auto residual = [&](Transformer& transformer, std::int64_t tile_tokens) {
    return residuals(transformer, document, std::span(&factors, 1), tile_tokens);
  };
  const auto some_logits = [](Transformer& transformer, const at::Tensor& hidden) {
    const at::Tensor result = at::empty({hidden.size(0), 20}, hidden.options());
    transformer.output_projection(16, 20).write(hidden, result);
    return result;
  };
  for (const at::ScalarType products : {at::kFloat, at::kBFloat16}) {
    const Placement placement{.weights = products, .products = products};
    if (kernels_for(placement) == nullptr) continue;  // kernels_test says that this processor has none for bfloat16
    Transformer ready = load(reference, placement, WeightSource::kReady);
    Transformer held = load(reference, placement, WeightSource::kMemory);
    Transformer streamed = load(reference, placement, WeightSource::kFiles);
    const at::Tensor whole = residual(held, 500);
    for (const int threads : {1, 2, 3}) {
      at::set_num_threads(threads);
      for (const std::int64_t tile : {1, 100, 192, 1152}) {
        EXPECT_TRUE(at::equal(residual(held, tile), whole)) << tile << " tokens, " << threads << " threads";
      }
      EXPECT_TRUE(at::equal(residual(ready, 192), whole)) << threads << " threads";
      EXPECT_TRUE(at::equal(residual(streamed, 192), whole)) << threads << " threads";
    }
    EXPECT_TRUE(at::equal(some_logits(ready, whole), some_logits(held, whole)));
    EXPECT_TRUE(at::equal(some_logits(streamed, whole), some_logits(held, whole)));
  }
}

TEST_F(TransformerTest, CandidatesAtOnceHaveTheBitsOfOneAtATime) {
  if (cpu_kernels(OperandType::kFloat32) == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  }
  const ReferenceTransformer reference({.architecture = "Qwen3ForCausalLM", .query_key_norm = true});
  const std::vector<RescaleFactors> candidates = {rising_factors(32, 8.0, 3, 1.2), rising_factors(32, 2.0, 0, 1.0),
                                                  rising_factors(32, 8.0, 3, 1.2)};
  const Document document = random_document(500, 61, 3);
  for (const WeightSource source : {WeightSource::kReady, WeightSource::kMemory, WeightSource::kFiles}) {
    Transformer transformer = load(reference, {}, source);
    const at::Tensor together = residuals(transformer, document, candidates, 192);
    ASSERT_EQ(together.size(0), 1500);
    for (std::size_t candidate = 0; candidate < candidates.size(); ++candidate) {
      const at::Tensor alone = residuals(transformer, document, std::span(candidates).subspan(candidate, 1), 1152);
      EXPECT_TRUE(at::equal(together.narrow(0, static_cast<std::int64_t>(500 * candidate), 500), alone)) << candidate;
    }
    EXPECT_FALSE(at::equal(together.narrow(0, 0, 500), together.narrow(0, 500, 500)));
  }
}

TEST_F(TransformerTest, PhasesCountTheOperationsOfTheirProducts) {
  const ReferenceTransformer reference({.layers = 3});
  Transformer transformer = load(reference, {});
  const Document document = random_document(300, 61, 4);
  const RotaryFrequencies frequencies = frequencies_of(rising_factors(32, 1.0, 0, 1.0));
  double now = 0.0;
  PhaseClock clock([&now] { return now += 1.0; });
  (void)transformer.residual_streams(document.tokens, std::span(&frequencies, 1), 192,
                                     {.tile_finished = [] {}, .clock = clock});
  const auto operations = [&](Phase phase) { return clock.totals()[static_cast<std::size_t>(phase)].operations; };
  const auto& model = description_;
  const double query = static_cast<double>(model.query_heads * model.head_dim);
  const double key_value = static_cast<double>(model.key_value_heads * model.head_dim);
  const double hidden = static_cast<double>(model.hidden_size);
  EXPECT_EQ(operations(Phase::kProjections), 3 * 2 * 300 * hidden * (2 * query + 2 * key_value));
  EXPECT_EQ(operations(Phase::kAttention), 3 * 4 * query * 300.0 * 301.0 / 2.0);
  EXPECT_EQ(operations(Phase::kFeedForward), 3 * 2 * 300 * hidden * 3 * static_cast<double>(model.intermediate_size));
  EXPECT_GT(clock.totals()[static_cast<std::size_t>(Phase::kRows)].seconds, 0.0);
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
  Transformer transformer = load(reference, {});
  const RescaleFactors factors = rising_factors(32, 8.0, 0, 1.2);
  const Document document = random_document(1, 61, 3);
  const at::Tensor difference = logits(transformer, factors, document) - expected_logits(reference, factors, document);
  EXPECT_LT(difference.abs().max().item<double>(), 1e-4);
}

TEST_F(TransformerTest, StoredInverseFrequenciesAreIgnored) {
  ReferenceTransformer reference({});
  reference.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{32}, std::vector<float>(32)};
  EXPECT_NO_THROW((void)load(reference, {}));
}

}  // namespace
}  // namespace longrope

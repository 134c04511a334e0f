// PerplexityScorer::differentiate() against central differences of the reference in double precision.

#include "tests/worker/reference_transformer.h"
#include "tests/worker/scoring_case.h"
#include "worker/kernels/cpu_kernels.h"
#include "worker/scoring/perplexity_scorer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

namespace longrope {
namespace {

/// The derivative of the NLL sum when `change` multiplies something by e^step.
double central_difference(const ReferenceTransformer& reference, const RescaleFactors& factors,
                          const Document& document, const std::function<void(RescaleFactors&, double)>& change) {
  constexpr double kStep = 1e-5;
  const auto at = [&](double step) {
    RescaleFactors changed = factors;
    change(changed, std::exp(step));
    return expected_score(reference, changed, document, std::ssize(document.tokens)).nll_sum;
  };
  return (at(kStep) - at(-kStep)) / (2.0 * kStep);
}

class FactorGradientTest : public ::testing::TestWithParam<ScoringCase> {
 protected:
  void SetUp() override {
    if (cpu_kernels(OperandType::kFloat32) == nullptr) {
      GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
    }
  }
};

TEST_P(FactorGradientTest, AgreesWithCentralDifferencesInDoublePrecision) {
  const ScoringCase& test = GetParam();
  const ReferenceTransformer reference(test.shape);
  const std::filesystem::path directory = fresh_directory();
  reference.write(directory);
  const RescaleFactors factors = factors_for(test);
  const Document document = document_of(test, test.length);
  PerplexityScorer scorer(directory, {.sliding_window = test.sliding_window});
  std::atomic<std::int64_t> progress{0};
  const FitnessResult result = scorer.differentiate(factors, document, test.length, progress);
  EXPECT_EQ(result.score.nll_sum, scorer.score(factors, document, test.length, progress).nll_sum);

  const std::size_t pairs = factors.lambda.size();
  ASSERT_EQ(result.gradient->log_lambda.size(), pairs);
  // A pair that turns fast has a large gradient and little freedom: what counts is the change within that freedom.
  std::vector<double> freedom(pairs);
  std::vector<double> expected(pairs);
  double largest = 0.0;
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    const double frequency = std::pow(test.shape.rope_theta, -static_cast<double>(pair) / static_cast<double>(pairs));
    freedom[pair] = std::min(1.0, 0.03 / frequency);
    expected[pair] = central_difference(
        reference, factors, document, [&](RescaleFactors& changed, double factor) { changed.lambda[pair] *= factor; });
    largest = std::max(largest, freedom[pair] * std::abs(expected[pair]));
  }
  constexpr double kTolerance = 1e-3;
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    EXPECT_LE(freedom[pair] * std::abs(result.gradient->log_lambda[pair] - expected[pair]), kTolerance * largest)
        << pair << ": " << expected[pair] << " and " << result.gradient->log_lambda[pair];
  }
  const double expected_attention =
      central_difference(reference, factors, document, [](RescaleFactors& changed, double factor) {
        changed.attention = {AttentionPolicy::kValue, changed.attention.value * factor};
      });
  EXPECT_NEAR(result.gradient->log_attention, expected_attention, 1e-3 * std::max(1.0, std::abs(expected_attention)));
}

INSTANTIATE_TEST_SUITE_P(
    Families, FactorGradientTest,
    ::testing::Values(
        ScoringCase{.name = "Llama", .shape = {}}, ScoringCase{.name = "Grouped4To1", .shape = {.key_value_heads = 1}},
        ScoringCase{.name = "TiedEmbeddings", .shape = {.tied_embeddings = true}},
        ScoringCase{.name = "Biases",
                    .shape = {.query_key_value_bias = true, .attention_output_bias = true, .feed_forward_bias = true}},
        ScoringCase{.name = "MistralInItsWindow",
                    .shape = {.architecture = "MistralForCausalLM", .sliding_window = 20},
                    .sliding_window = true},
        ScoringCase{.name = "Qwen3", .shape = {.architecture = "Qwen3ForCausalLM", .query_key_norm = true}},
        ScoringCase{
            .name = "PartialRotary",
            .shape = {.architecture = "Phi3ForCausalLM", .fused_projections = true, .partial_rotary_factor = 0.75},
            .attention = 1.19},
        ScoringCase{.name = "NHatAndAttentionFactor", .shape = {}, .n_hat = 16, .attention = 1.32},
        ScoringCase{.name = "NHatBeyondLength", .shape = {}, .n_hat = 1000},
        ScoringCase{.name = "Masked", .shape = {}, .masked = true},
        ScoringCase{.name = "TwoTokens", .shape = {}, .length = 2}),
    [](const auto& test) { return std::string(test.param.name); });

class FactorGradientBitsTest : public ::testing::TestWithParam<ComputeDtype> {};

// Tiles of 1,152 tokens and of 192; all kept, no results of attention, and every second layer's input only.
TEST_P(FactorGradientBitsTest, AreTheSameForAnyThreadsTilesAndKeptLayers) {
  if (cpu_kernels(OperandType::kFloat32) == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  }
  const ReferenceShape shape = {.layers = 5};
  const std::filesystem::path directory = fresh_directory();
  ReferenceTransformer(shape).write(directory);
  const Document document = random_document(1500, shape.vocabulary, 3);
  const RescaleFactors factors = rising_factors(32, 8.0, 0, 1.1);
  const auto gradient = [&](std::int64_t threads, std::int64_t budget) {
    PerplexityScorer scorer(directory, {.dtype = GetParam(), .threads = threads, .memory_budget = budget});
    std::atomic<std::int64_t> progress{0};
    const FactorGradient found = scorer.differentiate(factors, document, 1500, progress).gradient.value();
    EXPECT_EQ(progress, scorer.expected_gradient_progress(document, 1500)) << threads << " threads, budget " << budget;
    return found;
  };
  const FactorGradient one = gradient(1, 0);
  for (const auto& [threads, budget] : {std::pair{2, std::int64_t{0}},
                                        {3, std::int64_t{0}},
                                        {2, std::int64_t{26} << 20},
                                        {2, std::int64_t{24} << 20}}) {
    const FactorGradient other = gradient(threads, budget);
    EXPECT_EQ(one.log_lambda, other.log_lambda) << threads << " threads, budget " << budget;
    EXPECT_EQ(one.log_attention, other.log_attention);
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, FactorGradientBitsTest, ::testing::Values(ComputeDtype::kFp32, ComputeDtype::kBf16));

}  // namespace
}  // namespace longrope

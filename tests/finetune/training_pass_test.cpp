#include "finetune/training_pass.h"

#include "tests/worker/reference_transformer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

namespace longrope {
namespace {

constexpr std::int64_t kTokens = 23;

/// Files of a small random model, and factors for it.
struct Model {
  explicit Model(const ReferenceShape& shape) : reference(shape) {
    reference.write(directory);
    description = describe_model(directory);
    factors = rising_factors(description.geometry.pairs(), 3.0, 0, 1.1);
  }

  [[nodiscard]] ModelParameters parameters() const { return load_parameters(description, at::kCPU); }

  std::filesystem::path directory = fresh_directory();
  ReferenceTransformer reference;
  ModelDescription description;
  RescaleFactors factors;
};

at::Tensor random_tokens(std::int64_t sequences, std::int64_t vocabulary) {
  at::manual_seed(11);
  return at::randint(vocabulary, {sequences, kTokens}, at::TensorOptions().dtype(at::kLong));
}

/// What follows each token; the last of a sequence has no successor.
at::Tensor next_tokens(const at::Tensor& tokens) {
  const at::Tensor labels = at::full_like(tokens, TrainingPass::kIgnoredLabel);
  labels.narrow(1, 0, kTokens - 1).copy_(tokens.narrow(1, 1, kTokens - 1));
  return labels;
}

double reference_nll(const Model& model, const at::Tensor& sequence) {
  std::vector<std::int32_t> tokens;
  for (std::int64_t position = 0; position < kTokens; ++position) {
    tokens.push_back(sequence[position].item<std::int32_t>());
  }
  const std::vector<double> nll = model.reference.token_nll(model.factors, tokens, kTokens);
  return std::accumulate(nll.begin(), nll.end(), 0.0);
}

std::vector<at::Tensor> gradients(const ModelParameters& parameters) {
  std::vector<at::Tensor> found;
  for (const NamedTensor& named : trained_tensors(parameters)) found.push_back(named.tensor.grad());
  return found;
}

struct Family {
  std::string name;
  ReferenceShape shape;
};

class TrainingPassTest : public ::testing::TestWithParam<Family> {};

TEST_P(TrainingPassTest, NllIsThatOfTheDoublePrecisionReference) {
  const Model model(GetParam().shape);
  const TrainingPass pass(model.description, model.parameters(), {});
  const at::Tensor tokens = random_tokens(2, model.description.vocabulary);
  const double expected = reference_nll(model, tokens[0]) + reference_nll(model, tokens[1]);
  EXPECT_NEAR(pass.accumulate_gradients(tokens, next_tokens(tokens), model.factors, 1.0), expected, 1e-5 * expected);
}

TEST_P(TrainingPassTest, GradientIsTheSlopeOfTheNll) {
  const Model model(GetParam().shape);
  const ModelParameters parameters = model.parameters();
  const TrainingPass pass(model.description, parameters, {});
  const at::Tensor tokens = random_tokens(1, model.description.vocabulary);
  const at::Tensor labels = next_tokens(tokens);
  static_cast<void>(pass.accumulate_gradients(tokens, labels, model.factors, 1.0));
  // Central differences of the float32 NLL, along the gradient of each tensor.
  constexpr double kStep = 1e-2;
  const std::vector<NamedTensor> trained = trained_tensors(parameters);
  std::vector<at::Tensor> found;  // copies: every call adds to the gradients
  for (const at::Tensor& gradient : gradients(parameters)) found.push_back(gradient.clone());
  for (std::size_t index = 0; index < trained.size(); ++index) {
    const at::Tensor values = trained[index].tensor.detach();
    const at::Tensor before = values.clone();
    const at::Tensor& gradient = found[index];
    const auto expected = gradient.norm().item<double>();
    const auto nll_at = [&](double step) {
      values.copy_(before + gradient * (step / expected));
      return pass.accumulate_gradients(tokens, labels, model.factors, 1.0);
    };
    const double slope = (nll_at(kStep) - nll_at(-kStep)) / (2.0 * kStep);
    values.copy_(before);
    // Third order of the step, and rounding of NLLs near 90.
    EXPECT_NEAR(slope, expected, 0.01 * expected + 0.01) << trained[index].name;
  }
}

TEST_P(TrainingPassTest, RecomputationHasTheSameBits) {
  const Model model(GetParam().shape);
  const at::Tensor tokens = random_tokens(2, model.description.vocabulary);
  std::vector<std::vector<at::Tensor>> found;
  std::vector<double> nll;
  for (const bool recompute : {false, true}) {
    const ModelParameters parameters = model.parameters();
    const TrainingPass pass(model.description, parameters, {.recompute = recompute});
    nll.push_back(pass.accumulate_gradients(tokens, next_tokens(tokens), model.factors, 0.5));
    found.push_back(gradients(parameters));
  }
  EXPECT_EQ(nll[0], nll[1]);
  ASSERT_EQ(found[0].size(), found[1].size());
  for (std::size_t index = 0; index < found[0].size(); ++index) {
    EXPECT_TRUE(at::equal(found[0][index], found[1][index]));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Families, TrainingPassTest,
    ::testing::Values(
        Family{"Llama", {}}, Family{"Tied", {.tied_embeddings = true}}, Family{"LmHeadBesideATie", {.says_tied = true}},
        Family{"Qwen2", {.architecture = "Qwen2ForCausalLM", .query_key_value_bias = true}},
        Family{"Qwen3", {.architecture = "Qwen3ForCausalLM", .query_key_norm = true}},
        Family{"PartialRotary",
               {.architecture = "Phi3ForCausalLM", .fused_projections = true, .partial_rotary_factor = 0.75}}),
    [](const auto& family) { return family.param.name; });

TEST(TrainingPassRowsTest, IgnoredLabelsHaveNoPart) {
  const Model model({});
  const at::Tensor tokens = random_tokens(1, model.description.vocabulary);
  const at::Tensor half = next_tokens(tokens);
  half.narrow(1, 10, kTokens - 10).fill_(TrainingPass::kIgnoredLabel);
  const at::Tensor other = next_tokens(tokens);
  other.narrow(1, 0, 10).fill_(TrainingPass::kIgnoredLabel);
  const TrainingPass pass(model.description, model.parameters(), {});
  const double parts = pass.accumulate_gradients(tokens, half, model.factors, 1.0) +
                       pass.accumulate_gradients(tokens, other, model.factors, 1.0);
  const double whole = pass.accumulate_gradients(tokens, next_tokens(tokens), model.factors, 1.0);
  EXPECT_NEAR(parts, whole, 1e-5 * whole);
}

TEST(TrainingPassRowsTest, GradientsAddUpOverCalls) {
  const Model model({});
  const at::Tensor tokens = random_tokens(2, model.description.vocabulary);
  const ModelParameters together = model.parameters();
  static_cast<void>(TrainingPass(model.description, together, {})
                        .accumulate_gradients(tokens, next_tokens(tokens), model.factors, 0.25));
  const ModelParameters apart = model.parameters();
  const TrainingPass pass(model.description, apart, {});
  for (const std::int64_t row : {0, 1}) {
    const at::Tensor one = tokens.narrow(0, row, 1);
    static_cast<void>(pass.accumulate_gradients(one, next_tokens(one), model.factors, 0.25));
  }
  const auto expected = gradients(together);
  const auto found = gradients(apart);
  for (std::size_t index = 0; index < expected.size(); ++index) {
    EXPECT_TRUE(at::allclose(found[index], expected[index], /*rtol=*/1e-4, /*atol=*/1e-5)) << index;
  }
}

}  // namespace
}  // namespace longrope

#include "worker/scoring/perplexity_scorer.h"

#include "common/error.h"
#include "common/files/safetensors_file.h"
#include "tests/worker/reference_transformer.h"
#include "tests/worker/scoring_case.h"
#include "worker/kernels/cpu_kernels.h"
#include "worker/model/memory_estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace longrope {
namespace {

using ::testing::HasSubstr;

// Relative error of an NLL sum in float32 against double precision: a few roundings of 6e-8 per token, partly averaged.
constexpr double kFloat32Tolerance = 2e-6;
// bfloat16 products, where the CPU has them: the bound on agreement with other bfloat16 engines.
constexpr double kBfloat16Tolerance = 2e-3;

void expect_equal(const ScoreResult& actual, const ScoreResult& expected, double tolerance) {
  EXPECT_EQ(actual.scored_tokens, expected.scored_tokens);
  EXPECT_NEAR(actual.nll_sum, expected.nll_sum, tolerance * expected.nll_sum);
  ASSERT_EQ(actual.blocks.size(), expected.blocks.size());
  for (std::size_t block = 0; block < expected.blocks.size(); ++block) {
    EXPECT_EQ(actual.blocks[block].scored_tokens, expected.blocks[block].scored_tokens);
    EXPECT_NEAR(actual.blocks[block].nll_sum, expected.blocks[block].nll_sum,
                tolerance * expected.blocks[block].nll_sum);
  }
}

class PerplexityScorerGridTest : public ::testing::TestWithParam<ScoringCase> {};

TEST_P(PerplexityScorerGridTest, AgreesWithDoublePrecisionReference) {
  const ScoringCase& test = GetParam();
  const ReferenceTransformer reference(test.shape);
  const std::filesystem::path directory = fresh_directory();
  reference.write(directory);
  // Two tokens longer than what is scored: nothing beyond `length` may count.
  const Document document = document_of(test, test.length + 2);
  PerplexityScorer scorer(directory, {.sliding_window = test.sliding_window});
  std::atomic<std::int64_t> progress{0};
  const ScoreResult result = scorer.score(factors_for(test), document, test.length, progress);
  expect_equal(result, expected_score(reference, factors_for(test), document, test.length), kFloat32Tolerance);
  EXPECT_GT(progress.load(), 2 * test.shape.layers);
  EXPECT_GT(result.seconds, 0.0);
  EXPECT_GT(result.peak_memory_bytes, 0);
}

constexpr ReferenceShape kLlamaWithBiases = {
    .query_key_value_bias = true, .attention_output_bias = true, .feed_forward_bias = true};
constexpr ReferenceShape kMistral = {.architecture = "MistralForCausalLM", .sliding_window = 20};
constexpr ReferenceShape kQwen2 = {.tied_embeddings = true,
                                   .architecture = "Qwen2ForCausalLM",
                                   .query_key_value_bias = true,
                                   .sliding_window = 20,
                                   .first_windowed_layer = 1};
constexpr ReferenceShape kQwen3 = {.architecture = "Qwen3ForCausalLM", .query_key_norm = true};
constexpr ReferenceShape kPhi3 = {.query_heads = 2,
                                  .head_dim = 96,
                                  .architecture = "Phi3ForCausalLM",
                                  .fused_projections = true,
                                  .sliding_window = 20};
constexpr ReferenceShape kPhi4Mini = {.tied_embeddings = true,
                                      .architecture = "Phi3ForCausalLM",
                                      .fused_projections = true,
                                      .partial_rotary_factor = 0.75};
constexpr ReferenceShape kTiny = {
    .hidden_size = 16, .intermediate_size = 24, .layers = 1, .query_heads = 2, .key_value_heads = 1, .head_dim = 8};

INSTANTIATE_TEST_SUITE_P(
    Grid, PerplexityScorerGridTest,
    ::testing::Values(
        ScoringCase{.name = "Grouped1To1", .shape = {.query_heads = 2, .key_value_heads = 2}},
        ScoringCase{.name = "Grouped2To1", .shape = {}},
        ScoringCase{.name = "Grouped4To1", .shape = {.key_value_heads = 1}},
        ScoringCase{.name = "HeadDim96", .shape = {.query_heads = 2, .head_dim = 96}},
        ScoringCase{.name = "TiedEmbeddings", .shape = {.tied_embeddings = true}},
        ScoringCase{.name = "LmHeadBesideATie", .shape = {.says_tied = true}},
        ScoringCase{.name = "Bfloat16File", .shape = {.dtype = "BF16"}},
        ScoringCase{.name = "Float32BeyondBfloat16", .shape = {.representable_in_bf16 = false}},
        ScoringCase{.name = "ThreeShards", .shape = {.shards = 3}},
        ScoringCase{.name = "LlamaWithBiases", .shape = kLlamaWithBiases},
        ScoringCase{.name = "MistralInItsWindow", .shape = kMistral, .sliding_window = true},
        ScoringCase{.name = "Qwen2InItsWindow", .shape = kQwen2, .n_hat = 30, .sliding_window = true},
        ScoringCase{.name = "Qwen3", .shape = kQwen3},
        ScoringCase{.name = "Phi3InItsWindow", .shape = kPhi3, .sliding_window = true},
        ScoringCase{.name = "Phi4Mini", .shape = kPhi4Mini, .n_hat = 16, .attention = 1.19},
        ScoringCase{.name = "OtherBaseAndEpsilon", .shape = {.rms_norm_epsilon = 1e-3, .rope_theta = 500000.0}},
        ScoringCase{.name = "NHat", .shape = {}, .n_hat = 16},
        ScoringCase{.name = "AttentionFactor", .shape = {}, .attention = 1.19},
        ScoringCase{.name = "NHatAndAttentionFactor", .shape = {}, .n_hat = 5, .attention = 1.32},
        ScoringCase{.name = "NHatBeyondLength", .shape = {}, .n_hat = 1000, .attention = 1.32},
        ScoringCase{.name = "Masked", .shape = {}, .masked = true},
        ScoringCase{.name = "TwoTokens", .shape = {}, .length = 2},
        ScoringCase{.name = "LargeVocabulary", .shape = {.vocabulary = 9000}, .length = 20},
        ScoringCase{.name = "BelowTokenTile", .shape = kTiny, .length = 1023},
        ScoringCase{.name = "AtTokenTile", .shape = kTiny, .length = 1024, .n_hat = 100},
        ScoringCase{.name = "AboveTokenTile", .shape = kTiny, .length = 1025, .masked = true},
        ScoringCase{.name = "AtBlock", .shape = kTiny, .length = 4096},
        ScoringCase{.name = "AboveBlock", .shape = kTiny, .length = 4099, .attention = 1.1, .masked = true}),
    [](const auto& test) { return std::string(test.param.name); });

class PerplexityScorerTest : public ::testing::Test {
 protected:
  void SetUp() override { reference_.write(directory_); }

  [[nodiscard]] std::string refusal(const RescaleFactors& factors, const Document& document,
                                    std::int64_t length) const {
    PerplexityScorer scorer(directory_, {});
    std::atomic<std::int64_t> progress{0};
    try {
      (void)scorer.score(factors, document, length, progress);
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  }

  std::filesystem::path directory_ = fresh_directory();
  ReferenceShape shape_;
  ReferenceTransformer reference_{shape_};
  RescaleFactors factors_ = rising_factors(32, 8.0, 0, 1.1);
  Document document_ = random_document(50, 61, 9);
  std::atomic<std::int64_t> progress_{0};
};

TEST_F(PerplexityScorerTest, Bfloat16RoundsTheWeights) {
  ReferenceTransformer reference({.representable_in_bf16 = false});
  reference.write(directory_);
  PerplexityScorer scorer(directory_, {.dtype = ComputeDtype::kBf16});
  const ScoreResult result = scorer.score(factors_, document_, 50, progress_);
  reference.round_weights_to_bf16();
  const bool bfloat16_products = scorer.device_description().find("BFloat16 products") != std::string::npos;
  expect_equal(result, expected_score(reference, factors_, document_, 50),
               bfloat16_products ? kBfloat16Tolerance : kFloat32Tolerance);
}

TEST_F(PerplexityScorerTest, DescriptionNamesTorchDeviceAndDtypes) {
  const PerplexityScorer scorer(directory_, {.dtype = ComputeDtype::kBf16, .threads = 2});
  EXPECT_THAT(scorer.device_description(), ::testing::AllOf(HasSubstr("Torch 2."), HasSubstr("cpu"),
                                                            HasSubstr("2 threads"), HasSubstr("BFloat16 weights")));
}

TEST_F(PerplexityScorerTest, SlidingWindowsAreLeftOutUnlessAskedFor) {
  ReferenceShape windowed = kMistral;
  ReferenceTransformer(windowed).write(directory_);
  PerplexityScorer scorer(directory_, {});
  EXPECT_EQ(scorer.model().sliding_window(), 0);
  windowed.sliding_window = 0;
  expect_equal(scorer.score(factors_, document_, 50, progress_),
               expected_score(ReferenceTransformer(windowed), factors_, document_, 50), kFloat32Tolerance);
}

TEST_F(PerplexityScorerTest, RepeatedScoresAreBitEqual) {
  for (const std::int64_t threads : {1, 2}) {
    PerplexityScorer first(directory_, {.threads = threads});
    PerplexityScorer second(directory_, {.threads = threads});
    const ScoreResult result = first.score(factors_, document_, 50, progress_);
    EXPECT_TRUE(result.same_result(first.score(factors_, document_, 50, progress_)));
    EXPECT_TRUE(result.same_result(second.score(factors_, document_, 50, progress_)));
  }
}

TEST_F(PerplexityScorerTest, ResultDoesNotDependOnTokensBeyondLength) {
  PerplexityScorer scorer(directory_, {});
  const ScoreResult result = scorer.score(factors_, document_, 30, progress_);
  document_.tokens[30] = (document_.tokens[30] + 1) % 61;
  EXPECT_TRUE(result.same_result(scorer.score(factors_, document_, 30, progress_)));
}

TEST_F(PerplexityScorerTest, BadDocumentsAreRefused) {
  EXPECT_THAT(refusal(factors_, document_, 51), HasSubstr("at least 51 tokens"));
  EXPECT_THAT(refusal(factors_, document_, 1), HasSubstr("at least 2 tokens"));
  EXPECT_THAT(refusal(factors_, document_, -1), HasSubstr("at least 2 tokens"));
  document_.scored.assign(50, 0);
  EXPECT_THAT(refusal(factors_, document_, 50), HasSubstr("mask"));
  document_.scored.assign(49, 1);
  EXPECT_THAT(refusal(factors_, document_, 40), HasSubstr("mask"));
  document_.scored.clear();
  document_.tokens[7] = 61;
  EXPECT_THAT(refusal(factors_, document_, 50), HasSubstr("token 7 is 61"));
  document_.tokens[7] = -1;
  EXPECT_THAT(refusal(factors_, document_, 50), HasSubstr("token 7 is -1"));
}

/// Spec §6.2, as it is written there: tokens after the BOS are numbered from 0, a window has `window` − 1 of them.
FitnessResult expected_sliding(const ReferenceTransformer& reference, const RescaleFactors& factors,
                               const Document& document, std::int64_t length, const Fitness& fitness) {
  const std::vector<std::int32_t> tokens(document.tokens.begin() + 1, document.tokens.begin() + length);
  const auto count = static_cast<std::int64_t>(tokens.size());
  FitnessResult result;
  std::int64_t previous = 0;
  for (std::int64_t begin = 0; previous < count; begin += fitness.stride) {
    const std::int64_t end = std::min(begin + fitness.window - 1, count);
    std::vector<std::int32_t> fed = {document.tokens.front()};
    if (!fitness.repeat_first_token && begin > 0) fed = {tokens[static_cast<std::size_t>(begin - 1)]};
    fed.insert(fed.end(), tokens.begin() + begin, tokens.begin() + end);
    const std::vector<double> nll = reference.token_nll(factors, fed, static_cast<std::int64_t>(fed.size()));
    double sum = 0.0;
    std::int64_t counted = 0;
    for (std::int64_t token = previous; token < end; ++token) {
      if (!document.scored.empty() && document.scored[static_cast<std::size_t>(token + 1)] == 0) continue;
      sum += nll[static_cast<std::size_t>(token - begin + 1)];
      ++counted;
    }
    previous = end;
    if (counted == 0) continue;
    result.score.nll_sum += sum;
    result.score.scored_tokens += counted;
    result.window_means += sum / static_cast<double>(counted);
    ++result.windows;
  }
  return result;
}

struct SlidingCase {
  const char* name;
  std::int64_t length;
  std::int64_t window;
  std::int64_t stride;
  bool repeat_first_token = true;
  bool masked = false;
};
std::ostream& operator<<(std::ostream& out, const SlidingCase& test) { return out << test.name; }

class SlidingWindowTest : public ::testing::TestWithParam<SlidingCase> {};

TEST_P(SlidingWindowTest, AgreesWithTheReferenceFedWindowByWindow) {
  const SlidingCase& test = GetParam();
  const ReferenceTransformer reference({});
  const std::filesystem::path directory = fresh_directory();
  reference.write(directory);
  Document document = random_document(test.length + 2, 61, 11);
  if (test.masked) {  // most windows count nothing
    document.scored.assign(document.tokens.size(), 0);
    for (const std::size_t position : {3U, 4U, 50U}) document.scored[position] = 1;
  }
  const RescaleFactors factors = rising_factors(32, 8.0, 3, 1.1);
  const Fitness fitness = {.kind = FitnessKind::kSliding,
                           .window = test.window,
                           .stride = test.stride,
                           .repeat_first_token = test.repeat_first_token};
  PerplexityScorer scorer(directory, {});
  std::atomic<std::int64_t> progress{0};
  const FitnessResult result = scorer.measure(std::span(&factors, 1), fitness, document, test.length, progress).front();
  const FitnessResult expected = expected_sliding(reference, factors, document, test.length, fitness);
  EXPECT_EQ(result.windows, expected.windows);
  EXPECT_NEAR(result.window_means, expected.window_means, kFloat32Tolerance * expected.window_means);
  EXPECT_EQ(result.score.scored_tokens, expected.score.scored_tokens);
  EXPECT_NEAR(result.score.nll_sum, expected.score.nll_sum, kFloat32Tolerance * expected.score.nll_sum);
  EXPECT_EQ(progress.load(), scorer.expected_progress(1, fitness, document, test.length));
}

INSTANTIATE_TEST_SUITE_P(
    Grid, SlidingWindowTest,
    ::testing::Values(SlidingCase{"LastWindowShorter", 70, 32, 10}, SlidingCase{"LastWindowFull", 72, 32, 10},
                      SlidingCase{"StrideOne", 40, 36, 1}, SlidingCase{"LargestStride", 70, 20, 19},
                      SlidingCase{"WindowIsLength", 70, 70, 9}, SlidingCase{"TwoTokens", 12, 2, 1},
                      SlidingCase{"WithoutBos", 70, 32, 10, false}, SlidingCase{"Masked", 70, 16, 5, true, true}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_F(PerplexityScorerTest, OneWindowGivesThePerplexityOfOnePass) {
  PerplexityScorer scorer(directory_, {});
  const Fitness fitness = {.kind = FitnessKind::kSliding, .window = 50, .stride = 7};
  const FitnessResult result = scorer.measure(std::span(&factors_, 1), fitness, document_, 50, progress_).front();
  EXPECT_TRUE(result.score.same_result(scorer.score(factors_, document_, 50, progress_)));
  EXPECT_EQ(result.windows, 1);
}

TEST_F(PerplexityScorerTest, AnswersAreRightWhereEveryTokenIsTheReferencesArgmax) {
  // Answers of one to three tokens; the reference says what is likeliest, and half of the answers are made so.
  const std::vector<std::pair<std::size_t, std::size_t>> answers = {{5, 1}, {9, 2}, {14, 3}, {20, 2}, {30, 3}, {47, 3}};
  document_.scored.assign(50, 0);
  std::size_t made_right = 0;
  for (std::size_t answer = 0; answer < answers.size(); ++answer) {
    const auto [first, tokens] = answers[answer];
    for (std::size_t position = first; position < first + tokens; ++position) {
      document_.scored[position] = 1;
      const auto logits = reference_.logits(factors_, document_.tokens, static_cast<std::int64_t>(position));
      const auto best = std::ranges::max_element(logits.back()) - logits.back().begin();
      const bool last = position + 1 == first + tokens;
      // In the other answers only the last token is wrong: one wrong token is enough.
      document_.tokens[position] = static_cast<std::int32_t>(answer % 2 == 1 && last ? (best + 1) % 61 : best);
    }
    if (answer % 2 == 0) ++made_right;
  }
  PerplexityScorer scorer(directory_, {});
  const Fitness fitness = {.kind = FitnessKind::kAccuracy};
  const FitnessResult result = scorer.measure(std::span(&factors_, 1), fitness, document_, 50, progress_).front();
  EXPECT_EQ(result.answers, static_cast<std::int64_t>(answers.size()));
  EXPECT_EQ(result.right_answers, static_cast<std::int64_t>(made_right));
  EXPECT_TRUE(result.score.same_result(scorer.score(factors_, document_, 50, progress_)));
}

TEST_F(PerplexityScorerTest, ProgressEndsWhereItIsExpected) {
  const ReferenceShape shape = {.vocabulary = 9000,
                                .hidden_size = 16,
                                .intermediate_size = 24,
                                .query_heads = 4,
                                .key_value_heads = 2,
                                .head_dim = 8};
  ReferenceTransformer(shape).write(directory_);
  PerplexityScorer scorer(directory_, {});
  for (const std::int64_t length : {2, 1024, 1025, 2500}) {
    const Document document = random_document(length, shape.vocabulary, 3);
    std::atomic<std::int64_t> progress{0};
    (void)scorer.score(rising_factors(4, 8.0, 0, 1.0), document, length, progress);
    EXPECT_EQ(progress.load(), scorer.expected_progress(1, {}, document, length)) << length;
  }
}

TEST_F(PerplexityScorerTest, CandidatesAtOnceGiveWhatEachGivesAlone) {
  if (cpu_kernels(OperandType::kFloat32) == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has none of the CPU kernels' instructions";
  }
  const std::vector<RescaleFactors> candidates = {factors_, rising_factors(32, 1.0, 0, 1.0), factors_,
                                                  rising_factors(32, 16.0, 0, 1.3), rising_factors(32, 2.0, 9, 1.0)};
  const Document document = random_document(1200, 61, 5);
  const Fitness fitness = {.kind = FitnessKind::kSliding, .window = 900, .stride = 300};
  const ModelDescription model = describe_model(directory_);
  const std::int64_t for_two = estimate_memory(model, {.candidates = 2}, fitness.window).total();
  ASSERT_LT(fit_memory(model, {.candidates = 5}, fitness.window, for_two).candidates, 4);
  for (const std::int64_t budget : {std::int64_t{0}, for_two}) {  // all at once, and in groups
    PerplexityScorer scorer(directory_, {.memory_budget = budget});
    std::atomic<std::int64_t> progress{0};
    const std::vector<FitnessResult> together = scorer.measure(candidates, fitness, document, 1200, progress);
    EXPECT_EQ(progress.load(), scorer.expected_progress(5, fitness, document, 1200)) << budget;
    ASSERT_EQ(together.size(), candidates.size());
    for (std::size_t index = 0; index < candidates.size(); ++index) {
      const FitnessResult alone =
          scorer.measure(std::span(candidates).subspan(index, 1), fitness, document, 1200, progress).front();
      EXPECT_TRUE(together[index].score.same_result(alone.score)) << index;
      EXPECT_EQ(together[index].window_means, alone.window_means) << index;
    }
  }
}

TEST_F(PerplexityScorerTest, PhasesAreTimedWhenAskedFor) {
  const auto seconds = [&](const ScorerOptions& options) {
    PerplexityScorer scorer(directory_, options);
    const FitnessResult result = scorer.measure(std::span(&factors_, 1), {}, document_, 50, progress_).front();
    double sum = 0.0;
    for (const PhaseTotal& phase : result.phases) sum += phase.seconds;
    EXPECT_LE(sum, result.score.seconds);
    return sum;
  };
  EXPECT_EQ(seconds({}), 0.0);
  EXPECT_GT(seconds({.time_phases = true}), 0.0);
}

TEST_F(PerplexityScorerTest, BadFactorsAreRefused) {
  EXPECT_THAT(refusal(rising_factors(31, 8.0, 0, 1.0), document_, 50), HasSubstr("lambda must number 32: 31"));
  RescaleFactors factors = factors_;
  factors.lambda[3] = std::nan("");
  EXPECT_THAT(refusal(factors, document_, 50), HasSubstr("lambda must be finite: pair 3"));
  factors = factors_;
  factors.n_hat = -1;
  EXPECT_THAT(refusal(factors, document_, 50), HasSubstr("n_hat"));
}

TEST_F(PerplexityScorerTest, NonFiniteWeightsGiveANonFiniteNll) {
  reference_.tensors.at("model.layers.0.mlp.down_proj.weight").values[0] = NAN;
  reference_.write(directory_);
  PerplexityScorer scorer(directory_, {});
  EXPECT_FALSE(std::isfinite(scorer.score(factors_, document_, 50, progress_).nll_sum));
}

TEST_F(PerplexityScorerTest, BrokenCheckpointsAreRefused) {
  const auto refused = [this] {
    try {
      const PerplexityScorer scorer(directory_, {});
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  std::filesystem::resize_file(directory_ / "model.safetensors",
                               std::filesystem::file_size(directory_ / "model.safetensors") - 1);
  EXPECT_THAT(refused(), HasSubstr("within the file"));
  std::ofstream(directory_ / "model.safetensors") << "version https://git-lfs.github.com/spec/v1\n";
  EXPECT_THAT(refused(), HasSubstr("git lfs pull"));
  std::filesystem::remove(directory_ / "model.safetensors");
  EXPECT_THAT(refused(), HasSubstr("a weight file must exist"));
  ReferenceTransformer({.shards = 2}).write(directory_);
  std::filesystem::remove(directory_ / "model-1.safetensors");
  EXPECT_THAT(refused(), HasSubstr("model-1.safetensors"));
}

TEST_F(PerplexityScorerTest, OptionsOutOfRangeAreRefused) {
  for (const char* const device : {"", "gpu", "mps", "cpu:x", "cuda:-2"}) {
    EXPECT_THROW(PerplexityScorer(directory_, {.device = device}), InputError) << device;
  }
  for (const std::int64_t threads : {0, -1, 1'000'000}) {
    EXPECT_THROW(PerplexityScorer(directory_, {.threads = threads}), InputError) << threads;
  }
}

TEST_F(PerplexityScorerTest, WrittenLogitsAgreeWithReference) {
  PerplexityScorer scorer(directory_, {});
  scorer.write_logits(factors_, document_, 20, directory_ / "logits.safetensors");
  const SafetensorsFile file(directory_ / "logits.safetensors");
  const TensorView& view = file.tensors().at("logits");
  ASSERT_EQ(view.shape, (std::vector<std::int64_t>{20, 61}));
  std::vector<float> logits(20 * 61);
  std::memcpy(logits.data(), view.bytes.data(), view.bytes.size());
  const auto expected = reference_.logits(factors_, document_.tokens, 20);
  for (std::size_t entry = 0; entry < logits.size(); ++entry) {
    EXPECT_NEAR(static_cast<double>(logits[entry]), expected[entry / 61][entry % 61], 1e-4);
  }
}

TEST_F(PerplexityScorerTest, LogitsBeyondOneGibibyteAreRefused) {
  PerplexityScorer scorer(directory_, {});
  EXPECT_THROW(scorer.write_logits(factors_, document_, std::int64_t{1} << 40, directory_ / "logits.safetensors"),
               InputError);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "logits.safetensors"));
}

}  // namespace
}  // namespace longrope

#include "worker/model/memory_estimate.h"

#include "common/error.h"
#include "common/size_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <string>

namespace longrope {
namespace {

/// The proportions of SmolLM-135M.
ModelDescription small_model() {
  ModelDescription model;
  model.name = "small";
  model.vocabulary = 49152;
  model.hidden_size = 576;
  model.intermediate_size = 1536;
  model.layers = 30;
  model.query_heads = 9;
  model.key_value_heads = 3;
  model.head_dim = 64;
  model.tied_embeddings = true;
  model.geometry.rotary_dim = 64;
  return model;
}

constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;

TEST(MemoryEstimateTest, ATokenTakesOneResidualRowAndOneLayersKeysAndValues) {
  const MemoryEstimate estimate = estimate_memory(small_model(), {}, 65536);
  EXPECT_EQ(estimate.per_token - 16, 4 * (576 + 2 * 3 * 64));
}

TEST(MemoryEstimateTest, ItGrowsLinearlyWithTokens) {
  const auto total = [](std::int64_t tokens) { return estimate_memory(small_model(), {}, tokens).total(); };
  EXPECT_EQ(total(200'000) - total(100'000), 100'000 * estimate_memory(small_model(), {}, 1).per_token);
}

TEST(MemoryEstimateTest, WeightsAreThoseOfEveryProjectionAndTheEmbedding) {
  const std::int64_t layer = (9 + 2 * 3) * 64 * 576 + 576 * 576 + 3 * 576 * 1536;
  ModelDescription model = small_model();
  EXPECT_EQ(estimate_memory(model, {.weight_bytes = 2}, 1).weights, 2 * (30 * layer + 49152 * 576));
  model.tied_embeddings = false;
  EXPECT_EQ(estimate_memory(model, {.weight_bytes = 2}, 1).weights, 2 * (30 * layer + 2 * 49152 * 576));
}

TEST(MemoryEstimateTest, StreamingHoldsOneLayerInsteadOfAll) {
  const MemoryEstimate held = estimate_memory(small_model(), {.weight_bytes = 2}, 4096);
  const MemoryEstimate streamed =
      estimate_memory(small_model(), {.weight_bytes = 2, .weights = WeightSource::kFiles}, 4096);
  EXPECT_EQ(streamed.weights, 0);
  EXPECT_EQ(streamed.layer, held.layer / 4 * 6);  // two more bytes to four
  EXPECT_LT(streamed.total(), held.total());
}

TEST(MemoryEstimateTest, AGradientKeepsEveryLayersInputAndResultOfAttention) {
  const std::int64_t forward = estimate_memory(small_model(), {}, 65536).per_token;
  const auto kept = [&](KeptForGradient keep) {
    return estimate_memory(small_model(), {.gradient = keep}, 65536).per_token - forward;
  };
  EXPECT_EQ(kept({}) - kept({.attention = false}), 29 * 4 * 9 * (64 + 1));  // the layer at hand has its own anyhow
  EXPECT_EQ(kept({.attention = false}) - kept({.layers_between = 2, .attention = false}), 4 * 576 * (30 + 1 - 15 - 2));
}

TEST(MemoryEstimateTest, AGradientKeepsLessWhenTheBudgetIsShort) {
  constexpr std::int64_t kTokens = 65536;
  const MemoryLayout wanted = {.gradient = KeptForGradient{}};
  const auto needed = [&](KeptForGradient keep) {
    return estimate_memory(small_model(), {.weights = WeightSource::kReady, .gradient = keep}, kTokens).total();
  };
  const auto kept_within = [&](std::int64_t budget) {
    return fit_memory(small_model(), wanted, kTokens, budget).gradient.value();
  };
  EXPECT_TRUE(kept_within(needed({})).attention);
  const KeptForGradient inputs = kept_within(needed({}) - 1);
  EXPECT_FALSE(inputs.attention);
  EXPECT_EQ(inputs.layers_between, 1);
  EXPECT_EQ(kept_within(needed(inputs) - 1).layers_between, 2);
  // 30 inputs are fewest in 5 groups of 6, or 6 of 5.
  const KeptForGradient fewest = kept_within(needed({.layers_between = 5, .attention = false}));
  EXPECT_EQ(fewest.layers_between, 5);
}

TEST(MemoryEstimateTest, WeightsAreStreamedWhenTheyWouldTakeHalfTheBudget) {
  EXPECT_NE(fit_memory(small_model(), {}, 4096, 4 * kGibibyte).weights, WeightSource::kFiles);
  EXPECT_EQ(fit_memory(small_model(), {}, 4096, kGibibyte / 2).weights, WeightSource::kFiles);
}

TEST(MemoryEstimateTest, WeightsAreKeptReadyWhereTheyFitAndTakeNoMoreThanAsRead) {
  const auto source = [](const MemoryLayout& wanted, std::int64_t budget) {
    return fit_memory(small_model(), wanted, 4096, budget).weights;
  };
  EXPECT_EQ(source({}, 4 * kGibibyte), WeightSource::kReady);
  // Without the lm_head, which is there a second time as the embedding, they fit.
  const std::int64_t as_read = estimate_memory(small_model(), {}, 1).weights;
  EXPECT_EQ(source({}, 2 * as_read), WeightSource::kMemory);
  EXPECT_EQ(source({.weight_bytes = 2}, 4 * kGibibyte), WeightSource::kMemory);
  EXPECT_EQ(source({.weight_bytes = 2, .product_bytes = 2}, 4 * kGibibyte), WeightSource::kReady);
}

TEST(MemoryEstimateTest, ReadyWeightsNeedNoLayerBesideThem) {
  const MemoryEstimate ready = estimate_memory(small_model(), {.weights = WeightSource::kReady}, 4096);
  EXPECT_EQ(ready.layer, 0);
  const MemoryEstimate as_read = estimate_memory(small_model(), {}, 4096);
  EXPECT_EQ(ready.weights, as_read.weights + 4 * 49152 * 576);
}

TEST(MemoryEstimateTest, KeysAndValuesTakeTheBytesOfProducts) {
  EXPECT_EQ(estimate_memory(small_model(), {.product_bytes = 2}, 65536).per_token - 16, 4 * 576 + 2 * 2 * 3 * 64);
}

TEST(MemoryEstimateTest, TilesShrinkBeforeADocumentIsRefused) {
  const ModelDescription model = small_model();
  const std::int64_t comfortable = estimate_memory(model, {.weights = WeightSource::kFiles}, 65536).total();
  EXPECT_EQ(fit_memory(model, {}, 65536, comfortable).tile_tokens, MemoryLayout{}.tile_tokens);
  const MemoryLayout tight = fit_memory(model, {}, 65536, comfortable - 1);
  EXPECT_LT(tight.tile_tokens, MemoryLayout{}.tile_tokens);
  EXPECT_LE(estimate_memory(model, tight, 65536).total(), comfortable - 1);
}

TEST(MemoryEstimateTest, CandidatesShareWeightsLayerAndTile) {
  const MemoryEstimate one = estimate_memory(small_model(), {}, 65536);
  const MemoryEstimate three = estimate_memory(small_model(), {.candidates = 3}, 65536);
  EXPECT_EQ(three.weights + three.layer, one.weights + one.layer);
  // Beside the tile each has its own cos and sin.
  EXPECT_LT(three.tile, 2 * one.tile + 2 * 65536 * 64 * 4);
  EXPECT_EQ(three.tokens * three.per_token, 3 * one.tokens * one.per_token);
}

TEST(MemoryEstimateTest, CandidatesWaitBeforeTilesShrink) {
  const ModelDescription model = small_model();
  const std::int64_t for_two = estimate_memory(model, {.candidates = 2}, 65536).total();
  const MemoryLayout layout = fit_memory(model, {.candidates = 5}, 65536, for_two);
  EXPECT_EQ(layout.candidates, 2);
  EXPECT_EQ(layout.tile_tokens, MemoryLayout{}.tile_tokens);
}

std::string refused(std::int64_t tokens, std::int64_t budget) {
  try {
    (void)fit_memory(small_model(), {.candidates = 3}, tokens, budget);
  } catch (const MemoryError& error) {
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return {};
}

TEST(MemoryEstimateTest, RefusalNamesNeedBudgetAndTheLongestLengthThatFits) {
  const std::string message = refused(2'097'152, kGibibyte);
  std::smatch found;
  ASSERT_TRUE(std::regex_match(message, found,
                               std::regex("not enough memory: (\\d\\.\\d) GiB needed for 2,097,152 tokens of small, "
                                          "1\\.0 GiB available; the longest length that fits is ([\\d,]+)")))
      << message;
  // 2,097,152 tokens of 3,856 bytes are 7.5 GiB.
  EXPECT_GT(std::stod(found[1]), 7.5);
  EXPECT_LT(std::stod(found[1]), 7.8);
  std::string digits = found[2];
  std::erase(digits, ',');
  const std::int64_t longest = std::stoll(digits);
  EXPECT_EQ(longest_length(small_model(), {}, kGibibyte), longest);
  EXPECT_NO_THROW((void)fit_memory(small_model(), {}, longest, kGibibyte));
  EXPECT_THAT(refused(longest + 1, kGibibyte), ::testing::HasSubstr("needed for " + grouped_digits(longest + 1)));
}

TEST(MemoryEstimateTest, NeedNeverReadsAsWhatIsAvailable) {
  const std::int64_t smallest =
      estimate_memory(small_model(), {.weights = WeightSource::kFiles, .tile_tokens = 192}, 65536).total();
  const std::string message = refused(65536, smallest - 1);
  std::smatch found;
  ASSERT_TRUE(std::regex_search(message, found, std::regex(": (.+ MiB) needed .*, (.+ MiB) available"))) << message;
  EXPECT_NE(found[1], found[2]);
  EXPECT_THAT(message, ::testing::EndsWith("the longest length that fits is 65,535"));
}

TEST(MemoryEstimateTest, RefusalSaysWhenNoLengthFits) {
  EXPECT_THAT(refused(1024, kGibibyte / 1024), ::testing::EndsWith("1.0 MiB available; no length fits"));
}

TEST(MemoryEstimateTest, LongestLengthIsTheLastThatFits) {
  for (const std::int64_t budget : {kGibibyte / 4, kGibibyte, 16 * kGibibyte}) {
    const std::int64_t longest = longest_length(small_model(), {.candidates = 4}, budget);
    EXPECT_NO_THROW((void)fit_memory(small_model(), {.candidates = 4}, longest, budget)) << budget;
    EXPECT_THROW((void)fit_memory(small_model(), {.candidates = 4}, longest + 1, budget), MemoryError) << budget;
  }
  EXPECT_EQ(longest_length(small_model(), {}, kGibibyte / 1024), 0);
}

TEST(DeviceMemoryTest, ATokenTakesOneResidualRowAndOneLayersKeysAndValues) {
  // Nothing lies in panels: 80 channels of a head stay 80.
  ModelDescription model = small_model();
  model.head_dim = 80;
  EXPECT_EQ(estimate_memory(model, device_layout(2), 65536).per_token - 16, 2 * (576 + 2 * 3 * 80));
}

TEST(DeviceMemoryTest, WeightsThatDoNotFitComeFromTheHostThreeLayersAtOnce) {
  const ModelDescription model = small_model();
  const std::int64_t layer = model.layer_weights() * 2;
  const std::int64_t embedding = std::int64_t{49152} * 576 * 2;
  const MemoryLayout kept = fit_memory(model, device_layout(2), 1024, 4 * kGibibyte);
  EXPECT_EQ(kept.weights, WeightSource::kReady);
  EXPECT_EQ(estimate_memory(model, kept, 1024).weights, 30 * layer + embedding);
  const MemoryLayout streamed = fit_memory(model, device_layout(2), 1024, kGibibyte * 4 / 10);
  EXPECT_EQ(streamed.weights, WeightSource::kMemory);
  EXPECT_EQ(estimate_memory(model, streamed, 1024).layer, 3 * layer);
  EXPECT_EQ(estimate_memory(model, streamed, 1024).weights, embedding);
}

TEST(DeviceMemoryTest, WeightsThatFitNeitherDeviceNorHostStayInFiles) {
  MemoryLayout wanted = device_layout(2);
  wanted.host_budget = 1 << 20;
  EXPECT_EQ(fit_memory(small_model(), wanted, 1024, kGibibyte * 4 / 10).weights, WeightSource::kFiles);
  EXPECT_EQ(fit_memory(small_model(), wanted, 1024, 4 * kGibibyte).weights, WeightSource::kReady);
}

TEST(DeviceMemoryTest, TilesOfADeviceAreLargeAndHalveWhenMemoryIsShort) {
  const ModelDescription model = small_model();
  const MemoryLayout wanted = device_layout(2);
  EXPECT_EQ(fit_memory(model, wanted, 100'000, 4 * kGibibyte).tile_tokens, 8192);
  MemoryLayout half = wanted;
  half.weights = WeightSource::kReady;
  half.tile_tokens = 4096;
  EXPECT_EQ(fit_memory(model, wanted, 100'000, estimate_memory(model, half, 100'000).total()).tile_tokens, 4096);
}

TEST(DeviceMemoryTest, RefusalNamesTheLongestLengthThatFits) {
  const ModelDescription model = small_model();
  constexpr std::int64_t kBudget = kGibibyte;
  const std::int64_t longest = longest_length(model, device_layout(2), kBudget);
  EXPECT_NO_THROW((void)fit_memory(model, device_layout(2), longest, kBudget));
  try {
    (void)fit_memory(model, device_layout(2), longest + 1, kBudget);
    FAIL();
  } catch (const MemoryError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("the longest length that fits is " + grouped_digits(longest)));
  }
}

TEST(MemoryEstimateTest, AvailableMemoryIsPositive) { EXPECT_GT(available_memory(), 0); }

}  // namespace
}  // namespace longrope

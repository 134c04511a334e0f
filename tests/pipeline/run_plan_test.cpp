#include "pipeline/run_plan.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

/// LLaMA2-7B as its config.json has it.
ModelDescription llama2_7b() {
  ModelDescription model;
  model.vocabulary = 32000;
  model.hidden_size = 4096;
  model.intermediate_size = 11008;
  model.layers = 32;
  model.query_heads = 32;
  model.key_value_heads = 32;
  model.head_dim = 128;
  return model;
}

TEST(RunPlanTest, ForwardPassesCostWhatTheSpecificationSays) {
  // Spec §6.6, which leaves the lm_head out: 2·6.6e9·n + 64·4096·n²; its figures are rounded to two digits.
  for (const double tokens : {131072.0, 262144.0, 2097152.0}) {
    const double expected = 2.0 * 6.6e9 * tokens + 64.0 * 4096.0 * tokens * tokens;
    EXPECT_NEAR(forward_operations(llama2_7b(), static_cast<std::int64_t>(tokens)) / expected, 1.0, 0.01) << tokens;
  }
}

Config search_and_training() {
  Config config;
  config.model = LONGROPE_SOURCE_DIR "/models/byte-llama";
  SearchStage search;
  search.name = "4k";
  search.target_length = 4096;
  search.search_count = 5;
  search.heldout_count = 10;
  config.stages.push_back({.name = "4k", .kind = StageKind::kSearch, .work = search});
  FinetuneStage finetune;
  finetune.settings = {.steps = 400, .batch_size = 8};
  config.stages.push_back({.name = "tune", .kind = StageKind::kFinetune, .factors = "4k", .work = finetune});
  config.stages.push_back({.name = "out", .kind = StageKind::kExport, .factors = "4k", .work = ExportStage{}});
  return config;
}

TEST(RunPlanTest, EveryStageIsCountedInPasses) {
  const std::vector<StageCost> stages = plan_run(search_and_training());
  ASSERT_EQ(stages.size(), 3U);
  EXPECT_EQ(stages[0].candidates, 64 + 40 * 32);
  EXPECT_EQ(stages[0].passes, 1344 * 5 + (8 + 5) * 10) << "finalists and five baselines are held out";
  EXPECT_DOUBLE_EQ(stages[0].tokens, static_cast<double>(stages[0].passes) * 4096.0);
  EXPECT_GT(stages[0].host_memory_bytes, 0);
  EXPECT_EQ(stages[1].passes, 3200);
  EXPECT_EQ(stages[1].length, 4096) << "as long as the factors are for";
  EXPECT_EQ(stages[2].passes, 0);
}

TEST(RunPlanTest, StagesThatAreOverGiveTheirLengthsToThoseThatAreNot) {
  Config config = search_and_training();
  SearchStage recovery;
  recovery.name = "short";
  recovery.target_length = 2048;
  recovery.search_count = 5;
  recovery.heldout_count = 10;
  recovery.recovery = true;
  config.stages.push_back({.name = "short", .kind = StageKind::kRecover, .model = "tune", .work = recovery});
  const std::vector<StageCost> all = plan_run(config);
  const std::vector<StageCost> without_search = plan_run(config, {"4k"});
  ASSERT_EQ(without_search.size(), 3U);
  EXPECT_EQ(without_search[0].name, "tune");
  EXPECT_EQ(without_search[0].length, 4096);
  const std::vector<StageCost> recoveries = plan_run(config, {"4k", "tune", "out"});
  ASSERT_EQ(recoveries.size(), 1U) << "of a length that only the trained checkpoint reaches";
  EXPECT_EQ(recoveries[0].passes, all[3].passes);
}

TEST(RunPlanTest, FinalDocumentsAreScoredForTheWinnerAndTheBaselines) {
  Config config = search_and_training();
  auto& search = std::get<SearchStage>(config.stages.front().work);
  const std::int64_t without = plan_run(config).front().passes;
  search.final_documents = "final.safetensors";
  search.final_count = 20;
  EXPECT_EQ(plan_run(config).front().passes, without + (1 + 5) * 20);
}

TEST(RunPlanTest, TrainingTakesTheModelsDtypeUnlessItHasItsOwn) {
  Config config = search_and_training();
  const std::int64_t in_float32 = plan_run(config)[1].host_memory_bytes;
  config.dtype = ComputeDtype::kBf16;
  EXPECT_LT(plan_run(config)[1].host_memory_bytes, in_float32);
  std::get<FinetuneStage>(config.stages[1].work).settings.dtype = ComputeDtype::kFp32;
  EXPECT_EQ(plan_run(config)[1].host_memory_bytes, in_float32);
}

TEST(RunPlanTest, TrainingCostsThreePassesAndFourWhenItRecomputes) {
  Config config = search_and_training();
  const auto passes = [&] {
    return plan_run(config)[1].operations / (3200 * forward_operations(describe_model(config.model), 4096));
  };
  EXPECT_NEAR(passes(), 3.0, 1e-9);
  std::get<FinetuneStage>(config.stages[1].work).settings.recompute = true;
  EXPECT_NEAR(passes(), 4.0, 1e-9);
}

TEST(RunPlanTest, DevicesShareTheHours) {
  StageCost cost{.operations = 3.6e18, .max_devices = 1000};
  EXPECT_DOUBLE_EQ(cost.hours(100.0, 1), 10.0);
  EXPECT_DOUBLE_EQ(cost.hours(100.0, 8), 1.25);
  cost.max_devices = 4;
  EXPECT_DOUBLE_EQ(cost.hours(100.0, 8), 2.5) << "a batch of four samples";
}

TEST(RunPlanTest, SearchThatCouldNotBeginIsRefused) {
  Config config = search_and_training();
  config.file = "search.toml";
  auto& search = std::get<SearchStage>(config.stages.front().work);
  const auto refusal = [&] {
    try {
      (void)plan_run(config);
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("(not refused)");
  };
  search.search.method = SearchMethod::kAuthors;
  EXPECT_EQ(refusal(), "(not refused)");
  search.search.n_hat_choices = {0, 4};
  EXPECT_EQ(refusal(), "n_hat must be 0 with method \"authors\": [0, 4] (stage 4k, search.toml)");
  search.search.n_hat_choices = {0};
  // The same in one on a checkpoint that is yet to be trained.
  SearchStage next = search;
  next.name = "8k";
  next.target_length = 4096;
  config.stages.push_back({.name = "8k", .kind = StageKind::kSearch, .model = "tune", .work = next});
  EXPECT_THAT(refusal(), testing::HasSubstr("target_length must exceed the model's 4096 tokens: 4096 (stage 8k"));
}

TEST(RunPlanTest, TrainingThatCouldNotBeginIsRefused) {
  Config config = search_and_training();
  config.file = "search.toml";
  auto& finetune = std::get<FinetuneStage>(config.stages[1].work);
  finetune.settings.short_length = 64;
  EXPECT_THAT([&] { (void)plan_run(config); },
              testing::ThrowsMessage<InputError>("short_documents, short_length and short_batch_size must be given "
                                                 "together: 1 of 3 (stage tune, search.toml)"));
  finetune.command = {"trainer"};
  EXPECT_EQ(plan_run(config).size(), 3U) << "another trainer may read them in its own way";
}

TEST(RunPlanTest, ShippedConfigurationsArePlannedWithoutModelAndDocuments) {
  for (const char* const name : {"llama2-7b-128k", "llama2-7b-2048k", "llama3-8b-128k", "mistral-7b-256k",
                                 "phi3-mini-128k", "byte-llama-demo", "byte-llama-progressive"}) {
    const Config config = load_config(std::string(LONGROPE_SOURCE_DIR "/configs/") + name + ".toml");
    const std::vector<StageCost> stages = plan_run(config);
    EXPECT_EQ(stages.size(), config.stages.size());
    EXPECT_GT(stages.front().operations, 0.0) << name;
    if (!std::filesystem::exists(config.model)) {
      ASSERT_THAT(stages.front().assumptions, testing::SizeIs(1)) << name;
      EXPECT_THAT(stages.front().assumptions.front(), testing::HasSubstr("configs/models/")) << name;
    }
  }
}

TEST(RunPlanTest, DocumentsThatAreNotThereAreAssumedAloud) {
  Config config = search_and_training();
  std::get<SearchStage>(config.stages.front().work).search_count.reset();
  std::get<SearchStage>(config.stages.front().work).search_documents = "nowhere.safetensors";
  const std::vector<StageCost> stages = plan_run(config);
  EXPECT_EQ(stages[0].passes, 1344 * 5 + (8 + 5) * 10);
  EXPECT_THAT(stages[0].assumptions,
              testing::ElementsAre("stage 4k: 5 documents in nowhere.safetensors, which is not there"));
}

TEST(RunPlanTest, ModelWithoutADescriptionIsRefused) {
  Config config = search_and_training();
  config.file = "configs/search.toml";
  config.model = "/data/Unknown-7B-hf";
  EXPECT_THAT(
      [&] { (void)plan_run(config); },
      testing::ThrowsMessage<InputError>(
          "the model's directory must be there, or a description of it at configs/models/unknown-7b/config.json: "
          "/data/Unknown-7B-hf is not"));
}

TEST(RunPlanTest, OnlyWhatIsDividedIsSharedByDevices) {
  const std::vector<StageCost> stages = plan_run(search_and_training());
  EXPECT_EQ(stages[0].max_devices, stages[0].passes);
  EXPECT_EQ(stages[1].max_devices, 8) << "samples of a batch";
  EXPECT_EQ(stages[2].max_devices, 1);
}

}  // namespace
}  // namespace longrope

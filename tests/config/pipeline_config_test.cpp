#include "config/pipeline_config.h"

#include "common/error.h"
#include "config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <type_traits>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Stages "128k" and "256k" on the model, "tune" after them. Line of [[stage]] number n: 6 + 5·(n − 1).
constexpr const char* kSearches = R"([run]
name = "road"

[model]
path = "model"
[[stage]]
name = "128k"
target_length = 131072
search_documents = "a"
heldout_documents = "b"
[[stage]]
name = "256k"
target_length = 262144
search_documents = "a"
heldout_documents = "b"
)";
constexpr const char* kTune = R"([[stage]]
kind = "finetune"
name = "tune"
documents = "train"
steps = 400
)";

class PipelineConfigTest : public testing::Test {
 protected:
  Config load(const std::string& text) const {
    std::ofstream(file_, std::ios::binary) << text;
    return load_config(file_);
  }
  std::string refusal(const std::string& text) const {
    try {
      static_cast<void>(load(text));
    } catch (const InputError& error) {
      return error.what();
    }
    return "(not refused)";
  }
  void TearDown() override { std::filesystem::remove(file_); }

  std::filesystem::path file_ =
      std::filesystem::path(testing::TempDir()) /
      (std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + "-road.toml");
};

TEST_F(PipelineConfigTest, SearchesOfOneModelAreNoPipeline) {
  const Config config = load(kSearches);
  EXPECT_EQ(config.stages.size(), 2U);
  EXPECT_FALSE(config.is_pipeline());
}

TEST_F(PipelineConfigTest, StagesTakeTheLatestCheckpointAndWinnerUnlessTheySayOtherwise) {
  const Config config = load(std::string(kSearches) + kTune + R"(factors = "128k"
[[stage]]
kind = "finetune"
name = "again"
documents = "train"
steps = 600
[[stage]]
kind = "export"
name = "early"
model = "tune"
factors = "128k"
)");
  ASSERT_EQ(config.stages.size(), 5U);
  EXPECT_TRUE(config.is_pipeline());
  EXPECT_EQ(config.stages[1].model, "") << "no fine-tuning before it";
  EXPECT_EQ(config.stages[2].model, "");
  EXPECT_EQ(config.stages[2].factors, "128k");
  EXPECT_EQ(config.stages[3].model, "tune");
  EXPECT_EQ(config.stages[3].factors, "256k");
  EXPECT_EQ(config.stages[4].model, "tune");
  EXPECT_EQ(config.stages[4].factors, "128k");
}

/// A value of the setting's type that differs from its default, as TOML writes it.
template <typename T>
std::string other_value(const TrainingField<T>& field) {
  if constexpr (std::is_same_v<T, double>) {
    return "0.0625";
  } else if constexpr (std::is_same_v<T, bool>) {
    return "true";
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    return "\"short.safetensors\"";
  } else if constexpr (std::is_enum_v<T>) {
    return '"' + setting_text(field.allowed.values.back()) + '"';
  } else {
    return "3";
  }
}

TEST_F(PipelineConfigTest, EverySettingOfATrainingIsAKeyOfItsStage) {
  std::string keys;
  for_each_training_field([&](const auto& field) {
    if (field.stage_key && field.name != "steps") keys += std::string(field.name) + " = " + other_value(field) + "\n";
  });
  const Config config = load(std::string(kSearches) + kTune + keys);
  const TrainingSettings& settings = std::get<FinetuneStage>(config.stages[2].work).settings;
  const nlohmann::json identity = stage_settings(config.stages[2]).at("options");
  for_each_training_field([&](const auto& field) {
    const auto& setting = settings.*field.member;
    EXPECT_EQ(setting.given(), field.stage_key) << field.name;
    EXPECT_EQ(setting.value() != (TrainingSettings().*field.member).value(), field.stage_key) << field.name;
    EXPECT_EQ(identity.contains(field.name), field.stage_key && field.identity == SettingIdentity::kValue)
        << field.name;
  });
}

TEST_F(PipelineConfigTest, FineTuningGivesOnlyTheSettingsThatItSays) {
  const Config config = load(std::string(kSearches) + kTune + "learning_rate = 2e-5\nrecompute = true\n");
  const auto& tune = std::get<FinetuneStage>(config.stages[2].work);
  EXPECT_THAT(command_line(tune.settings), ElementsAre("--steps", "400", "--learning-rate", "2e-05", "--recompute"));
  EXPECT_EQ(stage_settings(config.stages[2]).at("options"), (nlohmann::json{{"steps", 400}, {"learning_rate", 2e-5}}))
      << "numbers, not texts";
}

TEST_F(PipelineConfigTest, SettingsOutOfRangeAreRefusedWithKeyRuleValueAndLine) {
  const auto refused = [&](const std::string& line) { return refusal(std::string(kSearches) + kTune + line); };
  EXPECT_THAT(refused("batch_size = 0\n"), HasSubstr("batch_size must lie in [1, 1000000]: 0 ("));
  EXPECT_THAT(refused("beta1 = 1\n"), HasSubstr("beta1 must lie in [0, 0.999999999]: 1 ("));
  EXPECT_THAT(refused("learning_rate = 0\n"), HasSubstr("learning_rate must lie in (0, 1000]: 0 ("));
  EXPECT_THAT(refused("schedule = \"step\"\n"), HasSubstr("schedule must be among linear, cosine, constant: 'step' ("));
  EXPECT_THAT(refused("dtype = \"fp16\"\n"), HasSubstr("dtype must be among fp32, bf16: 'fp16' ("));
  EXPECT_THAT(refused("target = \"hf3\"\n"), HasSubstr("target must be among hf5, hf4: 'hf3' ("));
  EXPECT_THAT(refused("recompute = 1\n"), HasSubstr("recompute must be true or false: 1 ("));
  EXPECT_THAT(refused("recompute = 1\n"), HasSubstr("road.toml:21)"));
  EXPECT_THAT(refused("seed = 1\n"), HasSubstr("unknown key in [[stage]]: seed"));
}

TEST_F(PipelineConfigTest, CommandKeepsItsWordsAsTheyAreWritten) {
  const auto stage = [](const std::string& command) {
    return std::string(kSearches) + "[[stage]]\nkind = \"finetune\"\nname = \"t\"\ncommand = " + command + "\n";
  };
  const Config config =
      load(stage(R"(["torchrun", "--nproc-per-node", "8", "train.py", "--batch", "8", "--note", ""])"));
  EXPECT_THAT(std::get<FinetuneStage>(config.stages[2].work).command,
              ElementsAre("torchrun", "--nproc-per-node", "8", "train.py", "--batch", "8", "--note", ""));
  EXPECT_THAT(refusal(stage("[]")), HasSubstr("command must name a program"));
  EXPECT_THAT(refusal(stage(R"(["", "train.py"])")), HasSubstr("command must not be empty"));
  EXPECT_THAT(refusal(stage(R"(["python", 8])")), HasSubstr("command must be a string: 8"));
  EXPECT_THAT(refusal(stage(R"(["python", "a\tb"])")), HasSubstr("command must not hold control characters"));
}

TEST_F(PipelineConfigTest, RecoveryIsASearchOfItsOwnKind) {
  const Config config = load(std::string(kSearches) + R"([[stage]]
kind = "recover"
name = "4k"
target_length = 4096
search_documents = "a"
heldout_documents = "b"
)");
  EXPECT_EQ(config.stages[2].kind, StageKind::kRecover);
  EXPECT_TRUE(std::get<SearchStage>(config.stages[2].work).recovery);
  EXPECT_FALSE(std::get<SearchStage>(config.stages[0].work).recovery);
}

TEST_F(PipelineConfigTest, SearchBeginsWithWinnersOfTheSameCheckpointOnly) {
  const auto search = [](const std::string& name, const std::string& seed) {
    return "[[stage]]\nname = \"" + name + "\"\ntarget_length = 524288\nsearch_documents = \"a\"\n" +
           "heldout_documents = \"b\"\nseed_stages = [\"" + seed + "\"]\n";
  };
  const std::string tuned = std::string(kSearches) + search("512k", "256k") + kTune;
  const Config config = load(tuned);
  EXPECT_THAT(std::get<SearchStage>(config.stages[2].work).seed_stages, ElementsAre("256k"));
  EXPECT_THAT(refusal(tuned + search("1024k", "256k")),
              HasSubstr("must name searches on the same checkpoint that come before it: 256k"));
  EXPECT_THAT(refusal(tuned + search("1024k", "tune")), HasSubstr("same checkpoint that come before it: tune"));
}

TEST_F(PipelineConfigTest, WhatContradictsItselfIsRefusedWithItsLine) {
  const std::string searches = kSearches;
  EXPECT_THAT(refusal(searches + kTune + "factors = \"512k\"\n"),
              HasSubstr("factors must name a search stage that comes before: 512k"));
  EXPECT_THAT(refusal(searches + kTune + "model = \"128k\"\n"),
              HasSubstr("model must name a finetune stage that comes before: 128k"));
  EXPECT_THAT(refusal(searches + "[[stage]]\nkind = \"finetune\"\nname = \"tune\"\nsteps = 4\n"),
              HasSubstr("documents must be given"));
  EXPECT_THAT(refusal(searches + "[[stage]]\nkind = \"finetune\"\nname = \"tune\"\ndocuments = \"d\"\n"),
              HasSubstr("steps must be given"));
  EXPECT_THAT(refusal(searches + "[[stage]]\nkind = \"finetune\"\nname = \"t\"\ncommand = [\"x\"]\nby_hand = true\n"),
              HasSubstr("must be a command or by_hand: both"));
  EXPECT_THAT(refusal(searches + "[[stage]]\nkind = \"train\"\nname = \"t\"\n"),
              HasSubstr("kind must be search, finetune, recover, evaluate or export: train"));
  EXPECT_THAT(refusal(searches + kTune + "learning_rate = 0\n"), HasSubstr("learning_rate must"));
  EXPECT_THAT(refusal(searches + kTune + "learningrate = 1\n"), HasSubstr("learning_rate"));
  EXPECT_THAT(refusal(searches + "[[stage]]\nkind = \"export\"\nname = \"128k\"\n"),
              HasSubstr("stage names must differ: 128k"));
  EXPECT_THAT(refusal(searches.substr(0, searches.find("[[stage]]")) + kTune),
              HasSubstr("a finetune stage must have a search stage before it: tune"));
  EXPECT_THAT(refusal(searches + kTune + "factors = \"512k\"\n"), HasSubstr("road.toml:16"));
}

TEST_F(PipelineConfigTest, SettingsChangeWithWhatChangesTheOutputAlone) {
  const auto settings = [&](const std::string& keys) {
    return stage_settings(load(std::string(kSearches) + kTune + keys).stages[2]);
  };
  const nlohmann::json plain = settings("");
  EXPECT_EQ(settings("recompute = true\ncheckpoint_interval = 7\n"), plain);
  EXPECT_NE(settings("batch_size = 7\n"), plain);
  EXPECT_NE(settings("length = 1024\n"), plain);
  EXPECT_NE(settings("factors = \"128k\"\n"), plain);
}

TEST_F(PipelineConfigTest, EveryConfigurationThatComesWithTheProjectIsRead) {
  std::size_t pipelines = 0;
  for (const auto& entry : std::filesystem::directory_iterator(LONGROPE_SOURCE_DIR "/configs")) {
    if (entry.is_directory()) continue;  // the published factors
    const Config config = load_config(entry.path());
    pipelines += config.is_pipeline() ? 1 : 0;
  }
  EXPECT_EQ(pipelines, 5U);
}

}  // namespace
}  // namespace longrope

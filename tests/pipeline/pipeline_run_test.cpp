#include "pipeline/pipeline_run.h"

#include "common/error.h"
#include "common/machine_threads.h"
#include "tests/pipeline/pipeline_fixture.h"
#include "tests/support/winner_scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;
using testing::Pair;
using testing::SizeIs;

class PipelineRunTest : public PipelineFixture {
 protected:
  void SetUp() override {
    PipelineFixture::SetUp();
    stage("out").place = " (pipeline.toml:31)";
  }
  [[nodiscard]] std::string refusal() {
    try {
      (void)run();
    } catch (const Error& error) {
      return error.what();
    }
    return "(not refused)";
  }
  [[nodiscard]] static std::string option_of(const Child& child, const std::string& name) {
    const auto found = std::ranges::find(child.command, name);
    return found == child.command.end() ? "(none)" : *(found + 1);
  }
  using Environment = std::vector<std::pair<std::string, std::string>>;
  [[nodiscard]] static Environment with_rank(Environment environment, const std::string& rank) {
    for (auto& [name, value] : environment) {
      if (name == "RANK" || name == "LOCAL_RANK") value = rank;
    }
    return environment;
  }
  /// As a process that was killed in the middle of the work leaves a stage.
  void begin(const std::string& name) {
    PipelineStore store(database_);
    PipelineStageRecord record = stage_named(store.stages(), name);
    record.state = PipelineStageState::kRunning;
    record.output.clear();
    record.output_digest.clear();
    store.write(record);
  }
};

TEST_F(PipelineRunTest, EveryStageRunsOnceInTheOrderOfTheFile) {
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_THAT(calls_, ElementsAre("search 128", "finetune", "search 256", "search short", "evaluate", "evaluate"));
  for (const PipelineStage& stage : config_.stages) EXPECT_EQ(state(stage.name), PipelineStageState::kFinished);
  EXPECT_TRUE(std::filesystem::exists(folder("out") / "small-out" / "config.json"));
  EXPECT_EQ(row("tune").inputs.size(), 3U) << "model, factors, documents";
}

TEST_F(PipelineRunTest, ReachedLengthIsPassedOnWithTheUntouchedModelAlone) {
  std::ofstream(model_ / "config.json")
      << R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 258, "hidden_size": 8, "intermediate_size": 8,)"
      << R"( "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8, "max_position_embeddings": 64,)"
      << R"( "rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}})";
  EXPECT_THAT(refusal(), HasSubstr("must exceed the 256 tokens that the checkpoint reaches: 128"));
  config_.reached_length = kOriginalLength;
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  ASSERT_EQ(searched_.size(), 3U);
  EXPECT_EQ(searched_[0].reached_length, kOriginalLength);
  EXPECT_EQ(searched_[1].reached_length, std::nullopt) << "its checkpoint was trained";
  ASSERT_EQ(started_.size(), 3U);
  EXPECT_THAT(started_[0].front().command, IsSupersetOf({"finetune", "--reached-length", "64"}));
  EXPECT_THAT(started_[1].front().command, Not(Contains("--reached-length"))) << "evaluates the trained checkpoint";
  EXPECT_THAT(started_[2].front().command, IsSupersetOf({"evaluate", "--reached-length", "64"}))
      << "evaluates the untouched model";
  config_.reached_length.reset();
  EXPECT_NE(refusal(), "(not refused)") << "another pipeline";
}

TEST_F(PipelineRunTest, FinishedPipelineDoesNothingAgain) {
  (void)run();
  calls_.clear();
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(PipelineRunTest, StoppedStageIsGoneOnWithAndThoseBeforeItAreKept) {
  stop_ = true;
  EXPECT_EQ(run(), PipelineEnd::kStopped);
  EXPECT_EQ(state("128"), PipelineStageState::kRunning);
  std::ofstream(folder("128") / "half done") << "x";
  stop_ = false;
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_TRUE(std::filesystem::exists(folder("128") / "half done")) << "its folder is its own";
  EXPECT_EQ(std::ranges::count(calls_, "search 128"), 2);
}

TEST_F(PipelineRunTest, FolderThatAPendingStageFindsIsKeptAside) {
  std::filesystem::create_directories(folder("128"));
  std::ofstream(folder("128") / "factors.json") << "of another database";
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_TRUE(std::filesystem::exists(folder("128.1") / "factors.json"));
  EXPECT_THAT(calls_, Contains("search 128")) << "what lay there is nobody's winner";
  EXPECT_THAT(said_, Contains("kept: " + folder("128.1").string()));
}

TEST_F(PipelineRunTest, StageThatWasKilledTakesWhatLiesInItsFolder) {
  (void)run();
  begin("256");
  calls_.clear();
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_THAT(calls_, IsEmpty()) << "the winner was written before the process was killed";
  EXPECT_FALSE(std::filesystem::exists(folder("256.1")));
}

TEST_F(PipelineRunTest, StageThatHasBegunMustKeepItsInputs) {
  (void)run();
  begin("tables");
  write_to(final_, {document_of("g", 9, 256)});
  const std::string digest = row("tables").inputs.at("documents");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("must keep its inputs: documents of tables changed"),
                               HasSubstr("longrope stage retry tables")));
  EXPECT_EQ(row("tables").inputs.at("documents"), digest) << "nothing was touched";
  EXPECT_EQ(state("tables"), PipelineStageState::kRunning);
}

TEST_F(PipelineRunTest, FinishedStageMustStillBeTrue) {
  (void)run();
  calls_.clear();
  write_to(train_, {document_of("u", 8, 256)});
  EXPECT_THAT(refusal(), HasSubstr("documents of tune changed"));
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(PipelineRunTest, CheckpointThatChangedIsSeenByAllThatWereMadeFromIt) {
  (void)run();
  write_weights(folder("tune") / "small-tune", 5.0F);
  EXPECT_THAT(refusal(), HasSubstr("model of 256 changed"));
}

TEST_F(PipelineRunTest, DocumentsThatHaveServedMayGo) {
  (void)run();
  std::filesystem::remove(train_);
  EXPECT_EQ(run(), PipelineEnd::kFinished);
}

TEST_F(PipelineRunTest, StageThatFailsSaysWhyAndIsTriedAgain) {
  failure_ = "no space left";
  EXPECT_THAT(refusal(), HasSubstr("fine-tuning failed: no space left (stage tune)"));
  EXPECT_EQ(state("tune"), PipelineStageState::kFailed);
  EXPECT_THAT(row("tune").detail, HasSubstr("no space left"));
  EXPECT_EQ(state("256"), PipelineStageState::kPending);
  failure_.clear();
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_EQ(row("tune").detail, "");
  EXPECT_FALSE(std::filesystem::exists(folder("tune.1"))) << "with the same inputs it goes on in its folder";
}

TEST_F(PipelineRunTest, StageThatFailedBeginsAnewWithOtherInputs) {
  failure_ = "bad documents";
  (void)refusal();
  failure_.clear();
  write_to(train_, {document_of("u", 8, 256)});
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_TRUE(std::filesystem::exists(folder("tune.1")));
}

TEST_F(PipelineRunTest, StagesOfOneDeviceTellItToTheirChildren) {
  config_.devices = {"cuda:1"};
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  ASSERT_THAT(started_, SizeIs(3)) << "a fine-tuning, two evaluations";
  for (const std::vector<Child>& together : started_) {
    ASSERT_THAT(together, SizeIs(1));
    EXPECT_EQ(option_of(together.front(), "--device"), "cuda:1");
  }
  EXPECT_THAT(started_.front().front().environment, ElementsAre(Pair("WORLD_SIZE", "1")))
      << "whatever this process was started with";
}

TEST_F(PipelineRunTest, FineTuningHasAProcessForEachDeviceAndAnEvaluationTakesTheFirst) {
  config_.devices = {"cuda:0", "cuda:1"};
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  ASSERT_THAT(started_, SizeIs(3));
  const std::vector<Child>& processes = started_.front();
  ASSERT_THAT(processes, SizeIs(2));
  EXPECT_NE(processes[0].log, processes[1].log);
  for (std::size_t i = 0; i < processes.size(); ++i) {
    EXPECT_EQ(processes[i].command[1], "finetune");
    EXPECT_EQ(option_of(processes[i], "--device"), config_.devices[i]);
    EXPECT_EQ(option_of(processes[i], "--threads"), std::to_string(std::max<std::int64_t>(1, machine_threads() / 2)));
    const std::string rank = std::to_string(i);
    for (const auto& [name, value] :
         Environment{{"WORLD_SIZE", "2"}, {"RANK", rank}, {"LOCAL_RANK", rank}, {"MASTER_ADDR", "127.0.0.1"}}) {
      EXPECT_THAT(processes[i].environment, Contains(Pair(name, value)));
    }
  }
  EXPECT_EQ(processes[0].environment, with_rank(processes[1].environment, "0")) << "they meet at one port";
  for (const std::size_t evaluation : {1U, 2U}) {
    ASSERT_THAT(started_[evaluation], SizeIs(1));
    EXPECT_EQ(option_of(started_[evaluation].front(), "--device"), "cuda:0");
  }
}

TEST_F(PipelineRunTest, FineTuningThatHasBegunMustKeepItsNumberOfProcesses) {
  stop_in_ = "finetune";
  EXPECT_EQ(run(), PipelineEnd::kStopped);
  std::filesystem::create_directories(folder("tune") / "small-tune.training");  // the trainer's state
  stop_in_.clear();
  config_.devices = {"cpu", "cpu"};
  EXPECT_THAT(refusal(), AllOf(HasSubstr("must keep its number of processes"), HasSubstr("began with 1, now 2"),
                               HasSubstr("longrope stage retry tune")));
  std::filesystem::remove(folder("tune") / "processes");  // as a release that knew one process left it
  EXPECT_THAT(refusal(), HasSubstr("began with 1, now 2"));
  EXPECT_THAT(started_, SizeIs(1)) << "nothing was started under the other number";
  config_.devices = {"cuda:3"};  // another device, as many processes: what a trainer may compare itself
  EXPECT_EQ(run(), PipelineEnd::kFinished);
}

TEST_F(PipelineRunTest, FineTuningWithoutAStateTakesAnyNumberOfProcesses) {
  stop_in_ = "finetune";
  EXPECT_EQ(run(), PipelineEnd::kStopped);
  stop_in_.clear();
  config_.devices = {"cpu", "cpu"};
  EXPECT_EQ(run(), PipelineEnd::kFinished);
}

TEST_F(PipelineRunTest, DevicesThatCannotShareABatchAreRefusedBeforeADatabaseIsMade) {
  finetune().settings.batch_size = 4;
  config_.devices = {"cuda:0", "cuda:1", "cuda:2"};
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage tune: "), HasSubstr("must divide the batch size of a fine-tuning, 4"),
                               HasSubstr(": 3 (")));
  EXPECT_FALSE(std::filesystem::exists(database_));
}

TEST_F(PipelineRunTest, DevicesAreNoMatterOfATrainingThatHasEnded) {
  finetune().settings.batch_size = 4;
  ASSERT_EQ(run(), PipelineEnd::kFinished);
  config_.devices = {"cuda:0", "cuda:1", "cuda:2"};
  EXPECT_EQ(run(), PipelineEnd::kFinished);
}

TEST_F(PipelineRunTest, TrainingByACommandIsNoMatterOfDevices) {
  finetune().command = {"trainer"};
  finetune().settings.batch_size = 4;
  config_.devices = {"cuda:0", "cuda:1", "cuda:2"};
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_THAT(started_.front(), SizeIs(1));
}

TEST_F(PipelineRunTest, CommandOfTheUsersIsRunInTheHandOffAndItsCheckpointTaken) {
  finetune().command = {"trainer"};
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_THAT(calls_, Contains("trainer"));
  EXPECT_TRUE(std::filesystem::exists(folder("tune") / "hand-off" / "manifest.json"));
  EXPECT_EQ(row("tune").output, "small.stages/tune/small-tune");
}

TEST_F(PipelineRunTest, CommandThatLeavesNoCheckpointIsRefused) {
  finetune().command = {"trainer"};
  leaves_checkpoint_ = false;
  EXPECT_THAT(refusal(), HasSubstr("must leave a model directory at LONGROPE_CHECKPOINT: none"));
  EXPECT_EQ(state("tune"), PipelineStageState::kFailed);
}

TEST_F(PipelineRunTest, FineTuningByHandWaitsForItsUser) {
  finetune().by_hand = true;
  EXPECT_EQ(run(), PipelineEnd::kWaiting);
  EXPECT_EQ(state("tune"), PipelineStageState::kWaiting);
  EXPECT_THAT(row("tune").detail, HasSubstr("longrope stage complete tune"));
  EXPECT_EQ(run(), PipelineEnd::kWaiting) << "and goes on waiting";
}

TEST_F(PipelineRunTest, WhatALateStageCannotDoIsRefusedBeforeADatabaseIsMade) {
  std::filesystem::remove(final_);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage tables: "), HasSubstr("final.safetensors")));
  EXPECT_FALSE(std::filesystem::exists(database_));
}

TEST_F(PipelineRunTest, VerdictIsSaidWhenItsSearchEnds) {
  verdicts_["128"] = unequal_documents();
  (void)run();
  EXPECT_THAT(said_, Contains("stage 1k: searched is 5.3 % worse than untouched (± 2 %): do not export"));
}

TEST_F(PipelineRunTest, LostSearchIsNotExportedUnlessItIsForced) {
  verdicts_["256"] = unequal_documents();
  EXPECT_THAT(refusal(), AllOf(HasSubstr("force = true: searched is 5.3 % worse than untouched"),
                               HasSubstr("(stage 256) (pipeline.toml:31)")));
  EXPECT_EQ(state("out"), PipelineStageState::kFailed);
  EXPECT_FALSE(std::filesystem::exists(folder("out") / "small-out"));
  std::get<ExportStage>(stage("out").work).force = true;
  EXPECT_EQ(run(), PipelineEnd::kFinished) << "the stage that failed goes on";
  EXPECT_TRUE(std::filesystem::exists(folder("out") / "small-out" / "config.json"));
  EXPECT_THAT(said_, Contains(HasSubstr("stage 256: searched is 5.3 % worse than untouched (± 2 %): do not export; "
                                        "exporting it all the same")));
}

TEST_F(PipelineRunTest, RecoveryThatLostIsNotExportedEither) {
  verdicts_["short"] = unequal_documents();
  EXPECT_THAT(refusal(), HasSubstr("(stage short)"));
}

TEST_F(PipelineRunTest, SearchOnTheCheckpointBeforeTheTrainingDoesNotJudgeTheTrainedOne) {
  verdicts_["128"] = unequal_documents();
  EXPECT_EQ(run(), PipelineEnd::kFinished);
}

TEST_F(PipelineRunTest, WinnerWorseThanAClosedFormIsExportedWithAWarning) {
  WinnerScores scores = unequal_documents();
  scores.scores[1].origin = "yarn";
  scores.scores[2].origin = "none";
  verdicts_["256"] = scores;
  EXPECT_EQ(run(), PipelineEnd::kFinished);
  EXPECT_THAT(said_,
              Contains("longrope: warning: stage 256: the winner is 5.3 % worse than YaRN (± 2 %), a closed form "
                       "that needs no search"));
}

}  // namespace
}  // namespace longrope

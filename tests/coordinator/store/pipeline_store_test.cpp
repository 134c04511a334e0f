#include "coordinator/store/pipeline_store.h"

#include "common/error.h"
#include "coordinator/store/store.h"
#include "tests/coordinator/store/sample_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace longrope {
namespace {

using testing::HasSubstr;

PipelineStageRecord stage(std::int64_t id, const std::string& name, StageKind kind, const std::string& settings) {
  PipelineStageRecord record;
  record.id = id;
  record.name = name;
  record.kind = kind;
  record.settings = settings;
  return record;
}

PipelineRecord road() {
  PipelineRecord pipeline;
  pipeline.name = "road";
  pipeline.config_file = "road.toml";
  pipeline.config_text = "# road\n";
  pipeline.settings = R"({"seed":1})";
  pipeline.software_version = "0.1.0";
  pipeline.stages = {stage(1, "128k", StageKind::kSearch, R"({"p":64})"),
                     stage(2, "tune", StageKind::kFinetune, R"({"steps":400})")};
  pipeline.stages[1].factors = "128k";
  return pipeline;
}

class PipelineStoreTest : public testing::Test {
 protected:
  void finish_first(PipelineStore& store) const {
    PipelineStageRecord record = store.stages().front();
    record.state = PipelineStageState::kFinished;
    record.inputs = {{"model", "m"}, {"documents", "d"}};
    record.output = "road.stages/128k/factors.json";
    record.output_digest = "digest";
    record.active_milliseconds = 1500;
    record.started_at = 1000;
    record.ended_at = 3000;
    store.write(record);
  }
  static std::string refusal(const std::function<void()>& action) {
    try {
      action();
    } catch (const InputError& error) {
      return error.what();
    }
    return "(not refused)";
  }
  std::filesystem::path file_ = sample::fresh_directory() / "road.db";
};

TEST_F(PipelineStoreTest, RowsAreReadBackAsTheyWereWritten) {
  {
    PipelineStore store(file_, road());
    finish_first(store);
  }
  const PipelineRecord read = read_pipeline_record(file_);
  EXPECT_EQ(read.name, "road");
  EXPECT_EQ(read.config_text, "# road\n");
  ASSERT_EQ(read.stages.size(), 2U);
  const PipelineStageRecord& first = read.stages.front();
  EXPECT_EQ(first.state, PipelineStageState::kFinished);
  EXPECT_EQ(first.inputs.at("documents"), "d");
  EXPECT_EQ(first.output, "road.stages/128k/factors.json");
  EXPECT_EQ(first.output_digest, "digest");
  EXPECT_EQ(first.active_milliseconds, 1500);
  EXPECT_EQ(first.started_at, 1000);
  EXPECT_EQ(read.stages.back().kind, StageKind::kFinetune);
  EXPECT_EQ(read.stages.back().factors, "128k");
  EXPECT_EQ(read.stages.back().started_at, 0);
}

TEST_F(PipelineStoreTest, StageThatHasNotBegunTakesNewSettings) {
  {
    PipelineStore store(file_, road());
    finish_first(store);
  }
  PipelineRecord changed = road();
  changed.stages[1].settings = R"({"steps":600})";
  const PipelineStore store(file_, changed);
  EXPECT_EQ(store.stages()[0].state, PipelineStageState::kFinished) << "what is done stays done";
  EXPECT_EQ(store.stages()[1].settings, R"({"steps":600})");
}

TEST_F(PipelineStoreTest, StageThatHasBegunKeepsItsSettings) {
  {
    PipelineStore store(file_, road());
    finish_first(store);
  }
  PipelineRecord changed = road();
  changed.stages[0].settings = R"({"p":32})";
  EXPECT_THAT(refusal([&] { PipelineStore(file_, changed); }),
              testing::AllOf(HasSubstr("128k began with {\"p\":64}, now {\"p\":32}"), HasSubstr("stage retry 128k")));
  changed.stages.erase(changed.stages.begin());
  EXPECT_THAT(refusal([&] { PipelineStore(file_, changed); }), HasSubstr("now it is gone"));
  EXPECT_EQ(read_pipeline_record(file_).stages.size(), 2U) << "nothing was changed";
}

TEST_F(PipelineStoreTest, AnotherModelOrSeedIsAnotherPipeline) {
  {
    const PipelineStore store(file_, road());
  }
  PipelineRecord other = road();
  other.settings = R"({"seed":2})";
  EXPECT_THAT(refusal([&] { PipelineStore(file_, other); }), HasSubstr("start another in a new file"));
}

TEST_F(PipelineStoreTest, OnlyOneProcessWrites) {
  const PipelineStore store(file_, road());
  EXPECT_THAT(refusal([&] { const PipelineStore second(file_); }), HasSubstr("in use"));
}

TEST_F(PipelineStoreTest, DatabaseOfASearchIsToldFromThatOfAPipeline) {
  {
    const PipelineStore store(file_, road());
  }
  const std::filesystem::path search = file_.parent_path() / "search.db";
  {
    const Store store(search, sample::run());
  }
  EXPECT_TRUE(is_pipeline(file_));
  EXPECT_FALSE(is_pipeline(search));
  EXPECT_FALSE(is_pipeline(file_.parent_path() / "absent.db"));
  EXPECT_THAT(refusal([&] { const Store store(file_, sample::run()); }),
              HasSubstr("must be a database of a LongRoPE search, not of a LongRoPE pipeline"));
  EXPECT_THAT(refusal([&] { static_cast<void>(read_pipeline_record(search)); }),
              HasSubstr("must be a database of a LongRoPE pipeline, not of a LongRoPE search"));
}

TEST_F(PipelineStoreTest, FinishedStageMustHaveAnOutput) {
  PipelineStore store(file_, road());
  PipelineStageRecord record = store.stages().front();
  record.state = PipelineStageState::kFinished;
  EXPECT_THROW(store.write(record), Error) << "refused by the schema";
  EXPECT_EQ(read_pipeline_record(file_).stages.front().state, PipelineStageState::kPending);
}

TEST_F(PipelineStoreTest, UnknownStageIsRefusedWithTheNames) {
  const PipelineStore store(file_, road());
  EXPECT_THAT(refusal([&] { static_cast<void>(stage_named(store.stages(), "256k")); }),
              HasSubstr("among 128k, tune: 256k"));
}

}  // namespace
}  // namespace longrope

#include "cli/stage_table.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::Not;

PipelineStageRecord stage() {
  PipelineStageRecord record;
  record.name = "8k";
  record.settings = R"({"budget": 12, "search": {"population_size": 6}})";
  return record;
}

std::string table_of(const PipelineRecord& pipeline) {
  std::ostringstream out;
  write_stage_table(pipeline, out);
  return out.str();
}

TEST(StageTableTest, ControlCharactersOfADatabaseDoNotReachATerminal) {
  PipelineRecord pipeline;
  pipeline.name = "run\x1b[2J";
  PipelineStageRecord record = stage();
  record.name = "8k\r";
  record.detail = "failed\nforged line";
  pipeline.stages.push_back(record);
  record.detail.clear();
  record.output = "out\x1b[1A";
  pipeline.stages.push_back(record);
  const std::string table = table_of(pipeline);
  EXPECT_THAT(table, HasSubstr(R"(pipeline run\u001b[2J)"));
  EXPECT_THAT(table, HasSubstr("failed forged line\n"));
  EXPECT_THAT(table, HasSubstr(R"(out\u001b[1A)"));
  EXPECT_THAT(table, Not(HasSubstr("\x1b")));
  EXPECT_THAT(table, Not(HasSubstr("\r")));
}

TEST(StageTableTest, SettingsAreShownAsTheyAreStored) {
  EXPECT_EQ(stage_json(stage())["settings"].dump(), R"({"budget":12,"search":{"population_size":6}})");
}

TEST(StageTableTest, SettingsThatAreNotOursAreRefusedByStage) {
  PipelineStageRecord record = stage();
  record.settings = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  EXPECT_THAT(refusal([&] { (void)stage_json(record); }),
              testing::AllOf(HasSubstr("not nest deeper than 16 levels"), HasSubstr("settings of stage 8k")));
  record.settings = "{";
  EXPECT_THAT(refusal([&] { (void)stage_json(record); }), HasSubstr("settings of stage 8k"));
}

}  // namespace
}  // namespace longrope

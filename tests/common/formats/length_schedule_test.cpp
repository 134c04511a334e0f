#include "common/formats/length_schedule.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longrope {
namespace {

using testing::HasSubstr;

/// Three tables of the kind that the authors publish, and one that no length is given to.
FactorsFile scheduled_file() {
  FactorsFile file;
  for (const char* const id : {"4k", "ft", "2048k", "secondary"}) file.entries.emplace_back().id = id;
  file.schedule = {{.max_length = 4096, .factors_id = "4k"},
                   {.max_length = 262144, .factors_id = "ft"},
                   {.max_length = 2097152, .factors_id = "2048k"}};
  return file;
}

std::string refusal_of(const FactorsFile& file) {
  return refusal([&] { require_valid_schedule(file, "f.json"); });
}

TEST(LengthScheduleTest, FirstTableThatReachesTheTotalLengthIsTaken) {
  const FactorsFile file = scheduled_file();
  const auto id = [&](std::int64_t length) { return entry_for(file, length, "f.json").id; };
  EXPECT_EQ(id(1), "4k");
  EXPECT_EQ(id(4096), "4k") << "exactly the original length is still short";
  EXPECT_EQ(id(4097), "ft");
  EXPECT_EQ(id(262144), "ft");
  EXPECT_EQ(id(262145), "2048k");
  EXPECT_EQ(id(2097152), "2048k");
}

TEST(LengthScheduleTest, LengthBeyondTheScheduleIsRefused) {
  EXPECT_EQ(refusal([] { (void)entry_for(scheduled_file(), 2097153, "f.json"); }),
            "length must be at most the last max_len of schedule, 2097152: 2097153 (f.json)");
}

TEST(LengthScheduleTest, SeveralTablesNeedALength) {
  EXPECT_THAT(refusal([] { (void)entry_for(scheduled_file(), std::nullopt, "f.json"); }), HasSubstr("one entry"));
}

TEST(LengthScheduleTest, LengthsThatDoNotAscendAreRefused) {
  FactorsFile file = scheduled_file();
  require_valid_schedule(file, "f.json");
  file.schedule[1].max_length = 4096;
  EXPECT_EQ(refusal_of(file), "max_len of schedule must ascend: 4096 after 4096 (f.json)");
  file.schedule[1].max_length = 0;
  EXPECT_THAT(refusal_of(file), HasSubstr("must ascend: 0 after 4096"));
}

TEST(LengthScheduleTest, UnknownAndRepeatedIdsAreRefused) {
  FactorsFile file = scheduled_file();
  file.schedule[2].factors_id = "1024k";
  EXPECT_EQ(refusal_of(file),
            "factors_id of schedule must be the id of factors: \"1024k\" for up to 2097152 tokens (f.json)");
  file.schedule[2].factors_id = "4k";
  EXPECT_EQ(refusal_of(file), "factors_id of schedule must not repeat: \"4k\" for up to 2097152 tokens (f.json)");
}

}  // namespace
}  // namespace longrope

#include "cli/plan_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace longrope {
namespace {

using testing::HasSubstr;

TEST(PlanTableTest, TableHasALineForEachStageAndTheirSum) {
  std::ostringstream out;
  write_plan({{.name = "4k",
               .kind = "search",
               .length = 4096,
               .passes = 10,
               .operations = 5.4e17,
               .memory_bytes = std::int64_t{27} << 29},
              {.name = "tune", .kind = "finetune", .length = 4096, .passes = 20}},
             {}, out);
  for (const char* text : {"4k", "tune", "total", " 30 ", "h on 8", "150 TFLOP/s", "memory", " 13.5 GiB "}) {
    EXPECT_THAT(out.str(), HasSubstr(text));
  }
  EXPECT_THAT(out.str(), HasSubstr(" 0.125\n")) << "hours of eight devices";
}

}  // namespace
}  // namespace longrope

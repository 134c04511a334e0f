#include "cli/plan_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string plan(const std::vector<StageCost>& stages, const PlanTableOptions& options) {
  std::ostringstream out;
  write_plan(stages, options, out);
  return out.str();
}

constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;

TEST(PlanTableTest, TableHasALineForEachStageAndTheirSum) {
  const std::string table = plan({{.name = "4k",
                                   .kind = "search",
                                   .length = 4096,
                                   .passes = 10,
                                   .operations = 5.4e17,
                                   .host_memory_bytes = std::int64_t{27} << 29,
                                   .max_devices = 10},
                                  {.name = "tune", .kind = "finetune", .length = 4096, .passes = 20}},
                                 {.device_tflops = 150.0, .devices = {8}});
  for (const char* text : {"4k", "tune", "total", " 30 ", "h on 8", "150 TFLOP/s", "memory", " 13.5 GiB "}) {
    EXPECT_THAT(table, HasSubstr(text));
  }
  EXPECT_THAT(table, HasSubstr(" 0.125\n")) << "hours of eight devices";
}

TEST(PlanTableTest, WhatCannotBeDividedTakesAsLongOnManyDevices) {
  const std::string table = plan({{.name = "tables", .kind = "evaluate", .passes = 4, .operations = 3.6e18}},
                                 {.device_tflops = 100.0, .devices = {1, 8}});
  EXPECT_THAT(table, HasSubstr("          10           10\n"));
}

TEST(PlanTableTest, RowThatDoesNotFitIsMarkedWithWhatHelps) {
  const std::vector<StageCost> stages = {
      {.name = "tune", .kind = "finetune", .gpu_memory_bytes = 203 * kGibibyte},
      {.name = "abroad", .kind = "finetune", .gpu_memory_bytes = 203 * kGibibyte, .elsewhere = true},
      {.name = "4k", .kind = "search", .host_memory_bytes = 150 * kGibibyte, .gpu_memory_bytes = 20 * kGibibyte}};
  const std::string table = plan(stages, {.on_gpu = true, .device_memory = 140 * kGibibyte});
  EXPECT_THAT(table, HasSubstr(" 203.0 GiB!"));
  EXPECT_THAT(table, HasSubstr("! tune does not fit one device: 203.0 GiB needed, 140.0 GiB available."));
  EXPECT_THAT(table, HasSubstr("command = ["));
  EXPECT_THAT(table, Not(HasSubstr("! abroad"))) << "another program knows how to divide it";
  EXPECT_THAT(table, Not(HasSubstr("! 4k")));
  EXPECT_THAT(table, HasSubstr("too small for tune")) << "no published GPU holds it either";
}

TEST(PlanTableTest, AssumptionsAndPublishedFiguresAreSaid) {
  StageCost cost{.name = "4k", .kind = "search", .operations = 1e18};
  cost.assumptions = {"the model is as x describes it"};
  const std::string table = plan({cost}, {.basis = "no worker program"});
  EXPECT_THAT(table, HasSubstr("Assumed: the model is as x describes it."));
  EXPECT_THAT(table, HasSubstr("by published figures (data sheets; 40 % of the peak is assumed)"));
  EXPECT_THAT(table, HasSubstr("No hours: the speed of devices is not known (no worker program)"));
}

}  // namespace
}  // namespace longrope

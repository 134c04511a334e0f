#include "cli/history_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::Not;

HistoryRow told(const std::string& stage, std::int64_t index, double perplexity, std::optional<double> heldout) {
  HistoryRow row;
  row.stage = stage;
  row.index = index;
  row.state = "told";
  row.perplexity = perplexity;
  row.heldout_perplexity = heldout;
  row.lambda = "[1]";
  return row;
}

std::string written(HistoryFormat format) {
  std::ostringstream out;
  write_history({told("4k", 0, 3.5, 4.25), told("4k", 1, 2.5, 4.75), told("8k", 0, 7.5, {})}, format, false, out);
  return out.str();
}

TEST(HistoryTableTest, LowestPerplexitiesOfEachStageAreMarked) {
  const std::string table = written(HistoryFormat::kTable);
  EXPECT_THAT(table, HasSubstr("3.50000 "));
  EXPECT_THAT(table, HasSubstr("4.25000*"));
  EXPECT_THAT(table, HasSubstr("2.50000*"));
  EXPECT_THAT(table, HasSubstr("4.75000 "));
  EXPECT_THAT(table, HasSubstr("7.50000*"));
  EXPECT_THAT(table, HasSubstr("\n* the lowest of its column in the stage\n"));
}

TEST(HistoryTableTest, WhatProgramsReadIsNotMarked) {
  EXPECT_THAT(written(HistoryFormat::kCsv), Not(HasSubstr("*")));
  EXPECT_THAT(written(HistoryFormat::kJson), Not(HasSubstr("*")));
}

}  // namespace
}  // namespace longrope

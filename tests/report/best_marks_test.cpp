#include "report/best_marks.h"

#include "report/report_plot.h"

#include <gtest/gtest.h>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

Json table(const Json& rows) {
  Json made =
      report_table({{"method", "method", "text"}, {"length", "length", "integer"}, {"value", "value", "number"}});
  made["rows"] = rows;
  return made;
}

TEST(BestMarksTest, LowestOfARowIsMarked) {
  Json marked = table(Json::parse(R"([["a", 3, 2.5], ["b", 1, null], ["c", 2, 2.5]])"));
  mark_lowest_in_rows(marked, {"length", "value"});
  EXPECT_EQ(marked["best"], Json::parse("[[0, 2], [2, 1]]"));
}

TEST(BestMarksTest, EqualNumbersAreNoBestOnes) {
  Json marked = table(Json::parse(R"([["a", 2, 2], ["b", null, null]])"));
  mark_lowest_in_rows(marked, {"length", "value"});
  EXPECT_EQ(marked["best"], Json::array());
}

TEST(BestMarksTest, GroupsHaveABestOfTheirOwnAndTiesAreAllMarked) {
  Json marked = table(Json::parse(R"([["a", 1, 0.5], ["b", 1, 0.9], ["c", 1, 0.9], ["a", 2, 0.1], ["b", 2, 0.2]])"));
  mark_best_in_groups(marked, "value", {"length"}, BetterIs::kHigher);
  EXPECT_EQ(marked["best"], Json::parse("[[1, 2], [2, 2], [4, 2]]"));
  mark_best_in_groups(marked, "value", {"length"}, BetterIs::kLower);
  EXPECT_EQ(marked["best"], Json::parse("[[0, 2], [3, 2]]"));
}

}  // namespace
}  // namespace longrope

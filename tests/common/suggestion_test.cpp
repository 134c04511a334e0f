#include "common/suggestion.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace longrope {
namespace {

constexpr std::array<std::string_view, 3> kKnown = {"target_length", "search_count", "pi"};

TEST(Suggestion, NamesTheNearestWord) {
  EXPECT_EQ(suggestion("target_lenght", kKnown), "; did you mean target_length?");
  EXPECT_EQ(suggestion("search_counts", kKnown), "; did you mean search_count?");
}

TEST(Suggestion, IsEmptyWhereNothingIsNear) {
  EXPECT_EQ(suggestion("banana", kKnown), "");
  EXPECT_EQ(suggestion("yarn", {}), "");
}

TEST(Suggestion, BoundsTheWorkOnLongWords) { EXPECT_EQ(suggestion(std::string(1 << 20, 'p'), kKnown), ""); }

}  // namespace
}  // namespace longrope

#include "common/duration.h"

#include <gtest/gtest.h>

namespace longrope {
namespace {

TEST(DurationTest, HoursAreShownFromTheFirstOn) {
  EXPECT_EQ(duration_text(0.4), "0:00");
  EXPECT_EQ(duration_text(65.0), "1:05");
  EXPECT_EQ(duration_text(3599.4), "59:59");
  EXPECT_EQ(duration_text(7265.0), "2:01:05");
}

}  // namespace
}  // namespace longrope

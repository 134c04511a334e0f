#include "common/wait_notice.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <vector>

namespace longrope {
namespace {

using std::chrono::milliseconds;

TEST(WaitNoticeTest, WaitIsMentionedAfterFiveSecondsAndThenOnceAMinute) {
  WaitNotice notice;
  std::vector<std::int64_t> said;
  for (milliseconds now{1000}; now <= milliseconds(131'000); now += milliseconds(500)) {
    if (const auto waited = notice.due(true, now)) said.push_back(waited->count());
  }
  EXPECT_EQ(said, (std::vector<std::int64_t>{5000, 65'000, 125'000}));
}

TEST(WaitNoticeTest, WaitThatEndedBeginsAnew) {
  WaitNotice notice;
  EXPECT_FALSE(notice.due(true, milliseconds(0)));
  EXPECT_FALSE(notice.due(false, milliseconds(4900)));
  EXPECT_FALSE(notice.due(true, milliseconds(6000)));
  EXPECT_FALSE(notice.due(true, milliseconds(10'900)));
  EXPECT_EQ(notice.due(true, milliseconds(11'000)), milliseconds(5000));
}

TEST(WaitNoticeTest, LateQuestionIsAnsweredWithTheWholeWait) {
  WaitNotice notice;
  EXPECT_FALSE(notice.due(true, milliseconds(0)));
  EXPECT_EQ(notice.due(true, milliseconds(300'000)), milliseconds(300'000));
  EXPECT_FALSE(notice.due(true, milliseconds(301'000)));
}

}  // namespace
}  // namespace longrope

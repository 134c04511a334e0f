#include "cli/live_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <sstream>
#include <string>

namespace longrope {
namespace {

using std::chrono::milliseconds;
using testing::EndsWith;
using testing::MatchesRegex;

Now at(std::int64_t steady) { return {milliseconds(steady), 1'764'500'000'000 + steady}; }

class LiveLineTest : public testing::Test {
 protected:
  /// What was written since the last call.
  std::string written() {
    std::string text = out_.str();
    out_.str("");
    return text;
  }

  std::ostringstream out_;
  std::optional<std::size_t> columns_ = 80;
  LiveLine line_{out_, [this] { return columns_; }};
};

TEST_F(LiveLineTest, PartsAreLeftOutFromTheEndUntilTheLineFits) {
  const LineParts parts = {"stage 4k", "12/84 candidates", "", "best 2.5", "2 workers"};
  EXPECT_EQ(fitted_line(parts, 200), "stage 4k, 12/84 candidates, best 2.5, 2 workers");
  EXPECT_EQ(fitted_line(parts, 47), "stage 4k, 12/84 candidates, best 2.5, 2 workers");
  EXPECT_EQ(fitted_line(parts, 46), "stage 4k, 12/84 candidates, best 2.5");
  EXPECT_EQ(fitted_line(parts, 25), "stage 4k");
  EXPECT_EQ(fitted_line(parts, 5), "stage");
  EXPECT_EQ(fitted_line({}, 5), "");
}

TEST_F(LiveLineTest, CharactersBeyondAsciiAreCutWholeAndCountTwoColumns) {
  EXPECT_EQ(fitted_line({"añb"}, 4), "añb");
  EXPECT_EQ(fitted_line({"añb"}, 3), "añ");
  EXPECT_EQ(fitted_line({"añb"}, 2), "a");
  EXPECT_EQ(fitted_line({"長い"}, 3), "長");
}

TEST_F(LiveLineTest, LineOnATerminalStaysBelowItsWidthAndIsOverwrittenWhole) {
  line_.show({std::string(200, 'x')}, false, at(0));
  EXPECT_EQ(written(), "\r\033[K" + std::string(79, 'x'));
  line_.show({"short"}, false, at(1000));
  EXPECT_EQ(written(), "\r\033[Kshort");
  line_.finish();
  EXPECT_EQ(written(), "\n");
  line_.finish();
  EXPECT_EQ(written(), "");
}

TEST_F(LiveLineTest, TerminalIsAskedForItsWidthEachTime) {
  line_.show({std::string(200, 'x')}, false, at(0));
  (void)written();
  columns_ = 30;
  line_.show({std::string(200, 'x')}, false, at(1000));
  // The 79 columns that stood there have become three rows of 30.
  EXPECT_EQ(written(), "\r\033[K\033[A\r\033[K\033[A\r\033[K" + std::string(29, 'x'));
}

TEST_F(LiveLineTest, ClearedLineLeavesNothing) {
  line_.clear();
  EXPECT_EQ(written(), "");
  line_.show({"one"}, false, at(0));
  line_.clear();
  EXPECT_THAT(written(), EndsWith("one\r\033[K"));
}

TEST_F(LiveLineTest, TerminalIsWrittenToFourTimesASecondAtMost) {
  for (std::int64_t time = 0; time < 1000; time += 10) line_.show({"line"}, false, at(time));
  EXPECT_EQ(written().size(), 4 * std::string("\r\033[Kline").size());
  line_.show({"now"}, true, at(1000));
  EXPECT_EQ(written(), "\r\033[Know");
}

TEST_F(LiveLineTest, LogGetsWholeLinesWithTimeStampsEveryTenSeconds) {
  columns_.reset();
  const std::string part(100, 'x');
  for (std::int64_t time = 0; time < 20'000; time += 250) line_.show({part, part}, false, at(time));
  line_.finish();
  line_.clear();
  const std::string line = "....-..-..T..:..:.. x+, x+\n";
  EXPECT_THAT(written(), MatchesRegex(line + line));
}

}  // namespace
}  // namespace longrope

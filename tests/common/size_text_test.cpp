#include "common/size_text.h"

#include <gtest/gtest.h>

#include <limits>

namespace longrope {
namespace {

constexpr std::int64_t kMebibyte = std::int64_t{1} << 20;
constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;

TEST(SizeTextTest, UnitFollowsTheSize) {
  EXPECT_EQ(size_text(0), "0.0 KiB");
  EXPECT_EQ(size_text(24'592), "24.0 KiB");
  EXPECT_EQ(size_text(8 * kMebibyte), "8.0 MiB");
  EXPECT_EQ(size_text(kGibibyte - kMebibyte), "1023.0 MiB");
  EXPECT_EQ(size_text(kGibibyte), "1.0 GiB");
  EXPECT_EQ(size_text(518'100'844'544), "482.5 GiB");
}

TEST(SizeTextTest, ANeedIsRoundedUpAndWhatIsAvailableDown) {
  constexpr std::int64_t kSize = 3 * kGibibyte + 1;
  EXPECT_EQ(size_text(kSize), "3.0 GiB");
  EXPECT_EQ(size_text(kSize, SizeRounding::kUp), "3.1 GiB");
  EXPECT_EQ(size_text(kSize - 2, SizeRounding::kDown), "2.9 GiB");
}

TEST(SizeTextTest, DigitsStandInGroupsOfThree) {
  EXPECT_EQ(grouped_digits(0), "0");
  EXPECT_EQ(grouped_digits(999), "999");
  EXPECT_EQ(grouped_digits(1'000), "1,000");
  EXPECT_EQ(grouped_digits(65'536), "65,536");
  EXPECT_EQ(grouped_digits(2'097'152), "2,097,152");
  EXPECT_EQ(grouped_digits(-123'456), "-123,456");
  EXPECT_EQ(grouped_digits(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
}

}  // namespace
}  // namespace longrope

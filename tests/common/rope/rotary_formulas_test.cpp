#include "common/rope/rotary_formulas.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace longrope {
namespace {

constexpr std::int64_t kTwoMillion = 2'097'152;

TEST(RotaryFormulasTest, Fp64CosAndSinAgreeWithExtendedPrecisionUpToTwoMillionTokens) {
  const std::vector<double> original = {1.0, 0.1, 1e-4};
  const std::vector<double> rescaled = {1.0 / 1.3, 0.1 / 8.0, 1e-4 / 512.0};
  const RotaryAngles<double> angles{original.data(), rescaled.data(), 1.25, 100};
  for (const std::int64_t position : {std::int64_t{0}, std::int64_t{99}, std::int64_t{100}, kTwoMillion - 1}) {
    for (std::int64_t pair = 0; pair < 3; ++pair) {
      const bool keeps = position < 100;
      const long double frequency = (keeps ? original : rescaled)[static_cast<std::size_t>(pair)];
      const long double angle = static_cast<long double>(position) * frequency;
      const long double magnitude = keeps ? 1.0L : 1.25L;
      const CosSin values = rotary_cos_sin(angles, position, pair);
      // Half a float's unit in the last place below 2, and 2^21·2^-53 of the angle.
      EXPECT_NEAR(static_cast<double>(values.cos), static_cast<double>(std::cos(angle) * magnitude), 6.1e-8);
      EXPECT_NEAR(static_cast<double>(values.sin), static_cast<double>(std::sin(angle) * magnitude), 6.1e-8);
    }
  }
}

TEST(RotaryFormulasTest, HfFp32AnglesAreRoundedToFloat) {
  const float frequency = 0.7F;
  const RotaryAngles<float> angles{&frequency, &frequency, 1.0F, 0};
  const std::int64_t position = kTwoMillion - 1;
  const float angle = rotary_angle(angles, position, 0);
  EXPECT_EQ(angle, static_cast<float>(position) * frequency);
  // The nearest floats lie an eighth of a radian apart.
  EXPECT_NEAR(static_cast<double>(angle), static_cast<double>(position) * static_cast<double>(frequency), 1.0 / 16.0);
  EXPECT_EQ(rotary_cos_sin(angles, position, 0).cos, std::cos(angle));
}

TEST(RotaryFormulasTest, RotationIsAComplexProduct) {
  const ChannelPair result = rotated({3.0F, -2.0F}, {.cos = 0.6F, .sin = 0.8F});
  // (3 − 2i)·(0.6 + 0.8i)
  EXPECT_NEAR(result.first, 3.4F, 1e-6F);
  EXPECT_NEAR(result.second, 1.2F, 1e-6F);
}

}  // namespace
}  // namespace longrope

#include "finetune/learning_rate.h"

#include "common/error.h"

#include <gtest/gtest.h>

namespace longrope {
namespace {

LearningRateSchedule schedule(LearningRateShape shape) {
  return {.shape = shape, .peak = 2.0, .warmup_steps = 4, .steps = 12};
}

TEST(LearningRateTest, WarmUpRisesFromZeroToThePeak) {
  for (const auto shape : {LearningRateShape::kLinear, LearningRateShape::kCosine, LearningRateShape::kConstant}) {
    EXPECT_DOUBLE_EQ(schedule(shape).at(0), 0.0);
    EXPECT_DOUBLE_EQ(schedule(shape).at(1), 0.5);
    EXPECT_DOUBLE_EQ(schedule(shape).at(4), 2.0);
  }
}

TEST(LearningRateTest, LinearFallsStraightToZero) {
  EXPECT_DOUBLE_EQ(schedule(LearningRateShape::kLinear).at(6), 1.5);
  EXPECT_DOUBLE_EQ(schedule(LearningRateShape::kLinear).at(11), 0.25);
  EXPECT_DOUBLE_EQ(schedule(LearningRateShape::kLinear).at(12), 0.0);
}

TEST(LearningRateTest, CosineIsHalfwayInTheMiddle) {
  EXPECT_NEAR(schedule(LearningRateShape::kCosine).at(8), 1.0, 1e-15);
  EXPECT_NEAR(schedule(LearningRateShape::kCosine).at(6), 2.0 * 0.853553390593273762, 1e-15);  // cos²(π/8)
  EXPECT_NEAR(schedule(LearningRateShape::kCosine).at(12), 0.0, 1e-15);
}

TEST(LearningRateTest, ConstantStays) { EXPECT_DOUBLE_EQ(schedule(LearningRateShape::kConstant).at(11), 2.0); }

TEST(LearningRateTest, WithoutWarmUpItBeginsAtThePeak) {
  EXPECT_DOUBLE_EQ((LearningRateSchedule{.peak = 3.0, .steps = 3}).at(0), 3.0);
}

TEST(LearningRateTest, NamesRoundTripAndOthersAreRefused) {
  for (const auto* const name : {"linear", "cosine", "constant"}) {
    EXPECT_EQ(to_string(parse_learning_rate_shape(name)), name);
  }
  EXPECT_THROW(static_cast<void>(parse_learning_rate_shape("step")), InputError);
}

}  // namespace
}  // namespace longrope

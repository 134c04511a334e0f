#include "finetune/training_run.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace longrope {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TrainingOptions sample_options() {
  TrainingOptions options;
  options.length = 1024;
  options.schedule.steps = 10;
  return options;
}

void expect_refused(const TrainingOptions& options, const std::string& message) {
  EXPECT_THAT([&] { require_consistent(options); }, ThrowsMessage<InputError>(HasSubstr(message)));
}

TEST(TrainingRunTest, DefaultsAreConsistent) { require_consistent(sample_options()); }

TEST(TrainingRunTest, MicroBatchesHaveAtMost16384TokensAndDivideTheShareOfAProcess) {
  TrainingOptions options = sample_options();
  EXPECT_EQ(micro_batch_size(options, 32, 1024), 16);
  EXPECT_EQ(micro_batch_size(options, 24, 1024), 12) << "16 does not divide it";
  options.place.count = 3;
  EXPECT_EQ(micro_batch_size(options, 24, 1024), 8);
  EXPECT_EQ(micro_batch_size(options, 24, 1 << 20), 1);
  options.micro_batch_size = 4;
  EXPECT_EQ(micro_batch_size(options, 24, 1024), 4);
}

TEST(TrainingRunTest, NumbersOutOfRangeAreRefusedWithTheirRule) {
  const auto changed = [](auto member, auto value) {
    TrainingOptions options = sample_options();
    options.*member = value;
    return options;
  };
  expect_refused(changed(&TrainingOptions::length, 1), "length must be at least 2 tokens: 1");
  expect_refused(changed(&TrainingOptions::batch_size, 0), "batch size must be positive: 0");
  expect_refused(changed(&TrainingOptions::micro_batch_size, 5), "share of the batch, 32: 5");
  expect_refused(changed(&TrainingOptions::checkpoint_interval, 0), "checkpoint interval must be positive: 0");
  expect_refused(changed(&TrainingOptions::max_gradient_norm, -1.0), "largest gradient norm must not be negative: -1");
  expect_refused(changed(&TrainingOptions::random_weights, 0.0), "deviation of random weights must be positive: 0");
  TrainingOptions options = sample_options();
  options.schedule.warmup_steps = 11;
  expect_refused(options, "warm-up must lie in [0, 10] steps: 11");
  options = sample_options();
  options.schedule.peak = std::numeric_limits<double>::infinity();
  expect_refused(options, "learning rate must be positive: inf");
  options = sample_options();
  options.adamw.beta1 = 1.0;
  expect_refused(options, "beta1 must lie in [0, 1): 1");
  options = sample_options();
  options.adamw.weight_decay = -0.5;
  expect_refused(options, "weight decay must not be negative: -0.5");
}

TEST(TrainingRunTest, ProcessesShareABatchEvenly) {
  TrainingOptions options = sample_options();
  options.place.count = 5;
  expect_refused(options, "the number of processes must divide the batch size, 32: 5");
}

TEST(TrainingRunTest, ShortSamplesNeedFactorsALengthAndABatchOfTheirOwn) {
  TrainingOptions options = sample_options();
  options.short_samples = ShortSamples{.documents = {}, .length = 512, .batch_size = 4};
  expect_refused(options, "short samples belong to a training with factors");
  options.factors = RescaleFactors{};
  options.target_length = 1024;
  require_consistent(options);
  options.short_samples->batch_size = 0;
  expect_refused(options, "batch size must be positive: 0");
  options.short_samples = ShortSamples{.documents = {}, .length = 1, .batch_size = 4};
  expect_refused(options, "length of short samples must be at least 2 tokens: 1");
}

TEST(TrainingRunTest, FactorsMustReachAsFarAsTheSamples) {
  TrainingOptions options = sample_options();
  options.factors = RescaleFactors{};
  options.target_length = 1023;
  expect_refused(options, "at least the length of a sample, 1024: 1023");
  options.target_length = 1024;
  require_consistent(options);
}

}  // namespace
}  // namespace longrope

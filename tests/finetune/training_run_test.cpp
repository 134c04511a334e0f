#include "finetune/training_run.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <string>

namespace longrope {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TrainingOptions sample_options() {
  TrainingOptions options;
  options.length = 1024;
  options.settings.steps = 10;
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
  options.settings.micro_batch_size = 4;
  EXPECT_EQ(micro_batch_size(options, 24, 1024), 4);
}

TEST(TrainingRunTest, NumbersOutOfRangeAreRefusedWithTheirRule) {
  const auto expect_setting_refused = [](auto member, auto value, const std::string& message) {
    TrainingOptions options = sample_options();
    options.settings.*member = value;
    expect_refused(options, message);
  };
  using S = TrainingSettings;
  expect_setting_refused(&S::steps, 0, "steps must be positive: 0");
  expect_setting_refused(&S::batch_size, 0, "batch size must be positive: 0");
  expect_setting_refused(&S::micro_batch_size, 5, "share of the batch, 32: 5");
  expect_setting_refused(&S::checkpoint_interval, 0, "checkpoint interval must be positive: 0");
  expect_setting_refused(&S::max_gradient_norm, -1.0, "largest gradient norm must not be negative: -1");
  expect_setting_refused(&S::warmup_steps, 11, "warm-up must lie in [0, 10] steps: 11");
  expect_setting_refused(&S::learning_rate, std::numeric_limits<double>::infinity(),
                         "learning rate must be positive: inf");
  expect_setting_refused(&S::beta1, 1.0, "beta1 must lie in [0, 1): 1");
  expect_setting_refused(&S::weight_decay, -0.5, "weight decay must not be negative: -0.5");
  TrainingOptions options = sample_options();
  options.length = 1;
  expect_refused(options, "length must be at least 2 tokens: 1");
  options = sample_options();
  options.random_weights = 0.0;
  expect_refused(options, "deviation of random weights must be positive: 0");
}

TEST(TrainingRunTest, ProcessesShareABatchEvenly) {
  TrainingOptions options = sample_options();
  options.place.count = 5;
  expect_refused(options, "the number of processes must divide the batch size, 32: 5");
}

TEST(TrainingRunTest, ShortSamplesNeedFactorsALengthAndABatchOfTheirOwn) {
  TrainingOptions options = sample_options();
  options.settings.short_documents = std::filesystem::path("short.safetensors");
  options.settings.short_length = 512;
  EXPECT_FALSE(short_samples(options.settings).has_value());
  expect_refused(options, "short_documents, short_length and short_batch_size must be given together: 2 of 3");
  options.settings.short_batch_size = 4;
  EXPECT_EQ(short_samples(options.settings)->length, 512);
  expect_refused(options, "short samples belong to a training with factors");
  options.factors = RescaleFactors{};
  options.target_length = 1024;
  require_consistent(options);
  options.settings.short_batch_size = 0;
  expect_refused(options, "batch size must be positive: 0");
  options.settings.short_batch_size = 4;
  options.settings.short_length = 1;
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

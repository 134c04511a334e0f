#include "finetune/training_state.h"

#include "common/error.h"
#include "common/files/safetensors_file.h"
#include "tests/worker/reference_transformer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace longrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TrainingState sample_state() {
  return {.settings = {{"seed", 1}, {"learning_rate", 0.1}},
          .steps = {{.step = 1,
                     .loss = 1.0 / 3.0,
                     .learning_rate = 0.1,
                     .gradient_norm = 2.5,
                     .documents = {4, 0},
                     .short_documents = {3}},
                    {.step = 2,
                     .loss = 0.1,
                     .learning_rate = 0.05,
                     .gradient_norm = 1e-300,
                     .documents = {1, 2},
                     .short_documents = {}}}};
}

std::vector<NamedTensor> tensors(double first, double second) {
  const auto options = at::TensorOptions().dtype(at::kFloat);
  return {{"parameter.a", at::full({2, 3}, first, options)}, {"first_moment.a", at::full({5}, second, options)}};
}

TEST(TrainingStateTest, WhatIsWrittenIsReadBitForBit) {
  const auto path = fresh_directory() / "state.safetensors";
  const TrainingState state = sample_state();
  write_training_state(path, state, tensors(0.1, 0.2));
  const auto found = tensors(0.0, 0.0);
  const auto read = read_training_state(path, state.settings, found);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(training_log(read->steps), training_log(state.steps));
  EXPECT_EQ(read->steps.at(0).loss, 1.0 / 3.0);
  EXPECT_TRUE(at::equal(found[0].tensor, tensors(0.1, 0.2)[0].tensor));
  EXPECT_TRUE(at::equal(found[1].tensor, tensors(0.1, 0.2)[1].tensor));
}

TrainingSamples samples_of(std::int64_t length) {
  Document document;
  document.tokens.assign(static_cast<std::size_t>(length), 7);
  return {.documents = {document},
          .order = SampleOrder(1, /*seed=*/0, "test"),
          .factors = {},
          .length = length,
          .batch_size = 4,
          .micro_batch_size = 2};
}

TEST(TrainingStateTest, StateIsHeldToEverySettingThatChangesTheResult) {
  TrainingOptions options;
  options.model = LONGROPE_SOURCE_DIR "/models/byte-llama";
  options.random_weights = 0.02;
  const nlohmann::json settings = state_settings(options, samples_of(16), samples_of(8), "some arithmetic");
  for_each_training_field([&](const auto& field) {
    const bool held = field.identity == SettingIdentity::kValue || field.identity == SettingIdentity::kDigest;
    EXPECT_EQ(settings.contains(field.name), held) << field.name;
  });
  EXPECT_EQ(settings.at("micro_batch_size"), 2) << "the size in use, not the 0 of the settings";
  EXPECT_EQ(settings.at("short_micro_batch_size"), 2);
  EXPECT_EQ(settings.at("short_documents"), samples_of(8).digest());
  EXPECT_NE(settings.at("documents"), settings.at("short_documents"));
  EXPECT_EQ(settings.at("arithmetic"), "some arithmetic");
}

TEST(TrainingStateTest, SettingsThatChangeNoBitAreNotKept) {
  TrainingOptions options;
  options.model = LONGROPE_SOURCE_DIR "/models/byte-llama";
  options.random_weights = 0.02;
  const nlohmann::json settings = state_settings(options, samples_of(16), std::nullopt, "");
  options.settings.recompute = true;
  options.settings.checkpoint_interval = 7;
  EXPECT_EQ(state_settings(options, samples_of(16), std::nullopt, ""), settings);
  options.settings.beta2 = 0.99;
  EXPECT_NE(state_settings(options, samples_of(16), std::nullopt, ""), settings);
}

TEST(TrainingStateTest, NoFileIsNoState) {
  EXPECT_FALSE(read_training_state(fresh_directory() / "none", {}, tensors(0.0, 0.0)).has_value());
}

TEST(TrainingStateTest, OtherSettingsAreRefusedByName) {
  const auto path = fresh_directory() / "state.safetensors";
  write_training_state(path, sample_state(), tensors(0.1, 0.2));
  const nlohmann::json other = {{"seed", 2}, {"learning_rate", 0.1}};
  EXPECT_THAT([&] { static_cast<void>(read_training_state(path, other, tensors(0.0, 0.0))); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("seed was 1, is 2"), HasSubstr("state.safetensors"))));
}

TEST(TrainingStateTest, FilesOfAnotherKindAreRefused) {
  const auto path = fresh_directory() / "state.safetensors";
  write_safetensors(path, {}, {{"format", "pt"}});
  EXPECT_THAT([&] { static_cast<void>(read_training_state(path, {}, {})); },
              ThrowsMessage<InputError>(HasSubstr("format longrope-training/1: pt")));
  write_safetensors(path, {}, {{"format", "longrope-training/1"}, {"settings", "{}"}, {"steps", "[1]"}});
  EXPECT_THAT([&] { static_cast<void>(read_training_state(path, {}, {})); },
              ThrowsMessage<InputError>(HasSubstr("settings and steps")));
}

TEST(TrainingStateTest, ATensorOfAnotherShapeIsRefusedByName) {
  const auto path = fresh_directory() / "state.safetensors";
  const TrainingState state = sample_state();
  write_training_state(path, state, {{"parameter.a", at::zeros({3, 2})}, {"first_moment.a", at::zeros({5})}});
  EXPECT_THAT([&] { static_cast<void>(read_training_state(path, state.settings, tensors(0.0, 0.0))); },
              ThrowsMessage<InputError>(HasSubstr("parameter.a")));
}

TEST(TrainingStateTest, TheLogHasALineForEachStep) {
  EXPECT_EQ(training_log({sample_state().steps.back()}),
            "{\"documents\":[1,2],\"gradient_norm\":1e-300,\"learning_rate\":0.05,\"loss\":0.1,\"short_documents\":[],"
            "\"step\":2}\n");
}

}  // namespace
}  // namespace longrope

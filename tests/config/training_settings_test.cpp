#include "config/training_settings.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// Every setting given, with its default; the flag is true.
TrainingSettings all_given() {
  TrainingSettings settings;
  for_each_training_field(
      [&]<typename T>(const TrainingField<T>& field) { settings.*field.member = T((settings.*field.member).value()); });
  settings.recompute = true;
  return settings;
}

TEST(TrainingSettingsTest, ListHasEveryMemberOnceAndEveryNameOnce) {
  const TrainingSettings settings;
  std::set<const void*> members;
  std::set<std::string_view> names;
  for_each_training_field([&](const auto& field) {
    members.insert(&(settings.*field.member));
    names.insert(field.name);
    EXPECT_FALSE(field.effect.empty()) << field.name;
  });
  EXPECT_EQ(members.size(), kTrainingFields);
  EXPECT_EQ(names.size(), kTrainingFields);
}

TEST(TrainingSettingsTest, EveryDefaultIsAllowedUnlessItHasNoneOrAnotherName) {
  for_each_training_field([&]<typename T>(const TrainingField<T>& field) {
    const T value = (TrainingSettings().*field.member).value();
    if constexpr (std::is_same_v<T, std::int64_t>) {
      EXPECT_EQ(value >= field.allowed.low && value <= field.allowed.high, !field.default_name) << field.name;
    } else if constexpr (std::is_enum_v<T>) {
      EXPECT_NE(std::ranges::find(field.allowed.values, value), field.allowed.values.end()) << field.name;
      for (const T allowed : field.allowed.values) EXPECT_EQ(field.allowed.parse(setting_text(allowed)), allowed);
    }
  });
}

TEST(TrainingSettingsTest, EverySettingGivenIsAnOptionAndInTheManifest) {
  const TrainingSettings settings = all_given();
  const std::vector<std::string> words = command_line(settings);
  const nlohmann::ordered_json manifest = given_settings(settings);
  for_each_training_field([&](const auto& field) {
    EXPECT_NE(std::ranges::find(words, option_name(field.name)), words.end()) << field.name;
    EXPECT_TRUE(manifest.contains(std::string(field.name))) << field.name;
  });
  EXPECT_EQ(manifest.size(), kTrainingFields);
}

TEST(TrainingSettingsTest, NothingIsGivenAtFirst) {
  EXPECT_TRUE(command_line({}).empty());
  EXPECT_TRUE(given_settings({}).empty());
  EXPECT_TRUE(stage_identity({}).empty());
}

TEST(TrainingSettingsTest, ValuesAreWrittenInTheirTypes) {
  TrainingSettings settings;
  settings.batch_size = 8;
  settings.learning_rate = 2e-5;
  settings.schedule = LearningRateShape::kCosine;
  settings.seed = 18446744073709551615U;
  settings.recompute = true;
  EXPECT_EQ(given_settings(settings).dump(),
            R"({"batch_size":8,"learning_rate":2e-05,"schedule":"cosine","seed":18446744073709551615,)"
            R"("recompute":true})");
  EXPECT_THAT(command_line(settings), ElementsAre("--batch-size", "8", "--learning-rate", "2e-05", "--schedule",
                                                  "cosine", "--seed", "18446744073709551615", "--recompute"));
  settings.recompute = false;
  EXPECT_THAT(command_line(settings), testing::Not(testing::Contains("--recompute"))) << "a flag has no value";
  EXPECT_EQ(given_settings(settings).at("recompute"), false);
}

TEST(TrainingSettingsTest, OnlyWhatChangesTheResultIsPartOfIdentity) {
  const TrainingSettings settings = all_given();
  std::set<std::string> left_out;
  for_each_training_field([&](const auto& field) {
    const std::string name(field.name);
    if (!stage_identity(settings).contains(name)) left_out.insert(name);
    EXPECT_EQ(training_identity({}).contains(name), stage_identity(settings).contains(name)) << name;
  });
  EXPECT_THAT(left_out, ElementsAre("checkpoint_interval", "recompute", "short_documents", "threads"));
}

TEST(TrainingSettingsTest, FillingInKeepsWhatIsGiven) {
  TrainingSettings settings;
  settings.steps = 600;
  TrainingSettings others;
  others.steps = 400;
  others.batch_size = 64;
  fill_in(settings, others);
  EXPECT_EQ(settings.steps.value(), 600);
  EXPECT_EQ(settings.batch_size.value(), 64);
  EXPECT_TRUE(settings.batch_size.given());
  EXPECT_FALSE(settings.learning_rate.given());
}

TEST(TrainingSettingsTest, UnknownShapeIsRefused) {
  EXPECT_THAT([] { static_cast<void>(parse_learning_rate_shape("step")); },
              ThrowsMessage<InputError>(HasSubstr("schedule must be linear, cosine or constant: step")));
}

}  // namespace
}  // namespace longrope

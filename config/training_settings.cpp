#include "config/training_settings.h"

#include "common/error.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace longrope {
namespace {

/// Every member. Does not compile when there is one more or one less.
[[maybe_unused]] auto members(const TrainingSettings& settings) {
  const auto& [steps, batch_size, micro_batch_size, short_documents, short_length, short_batch_size, learning_rate,
               schedule, warmup_steps, beta1, beta2, epsilon, weight_decay, max_gradient_norm, seed, dtype, angles,
               target, threads, recompute, checkpoint_interval] = settings;
  return std::tie(steps, batch_size, micro_batch_size, short_documents, short_length, short_batch_size, learning_rate,
                  schedule, warmup_steps, beta1, beta2, epsilon, weight_decay, max_gradient_norm, seed, dtype, angles,
                  target, threads, recompute, checkpoint_interval);
}
static_assert(std::tuple_size_v<decltype(members(TrainingSettings()))> == kTrainingFields,
              "every member of TrainingSettings must stand in training_fields::kAll");

/// Numbers and booleans as they are, words and paths as strings.
template <typename T>
nlohmann::ordered_json setting_json(const T& value) {
  if constexpr (std::is_arithmetic_v<T>) {
    return value;
  } else {
    return setting_text(value);
  }
}

/// The settings for which `chosen(field, setting)` holds.
template <typename Chosen>
nlohmann::ordered_json settings_json(const TrainingSettings& settings, const Chosen& chosen) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for_each_training_field([&](const auto& field) {
    const auto& setting = settings.*field.member;
    if (chosen(field, setting)) json[std::string(field.name)] = setting_json(setting.value());
  });
  return json;
}

}  // namespace

std::string_view to_string(LearningRateShape shape) {
  constexpr std::array<std::string_view, 3> kWords = {"linear", "cosine", "constant"};
  return kWords.at(static_cast<std::size_t>(shape));
}

LearningRateShape parse_learning_rate_shape(std::string_view text) {
  for (const LearningRateShape shape : training_fields::kShapes) {
    if (to_string(shape) == text) return shape;
  }
  throw InputError(fmt::format("schedule must be linear, cosine or constant: {}", text));
}

std::string_view to_string(HuggingFaceTarget target) { return target == HuggingFaceTarget::k4 ? "hf4" : "hf5"; }

std::string setting_text(std::int64_t value) { return std::to_string(value); }
std::string setting_text(std::uint64_t value) { return std::to_string(value); }
std::string setting_text(double value) { return fmt::format("{}", value); }
std::string setting_text(bool value) { return value ? "true" : "false"; }
std::string setting_text(const std::filesystem::path& value) { return value.string(); }

std::string option_name(std::string_view setting) {
  std::string name = fmt::format("--{}", setting);
  std::ranges::replace(name, '_', '-');
  return name;
}

void fill_in(TrainingSettings& settings, const TrainingSettings& others) {
  for_each_training_field([&](const auto& field) {
    auto& setting = settings.*field.member;
    if (!setting.given() && (others.*field.member).given()) setting = others.*field.member;
  });
}

std::vector<std::string> command_line(const TrainingSettings& settings) {
  std::vector<std::string> words;
  for_each_training_field([&]<typename T>(const TrainingField<T>& field) {
    const Setting<T>& setting = settings.*field.member;
    if (!setting.given()) return;
    if constexpr (std::is_same_v<T, bool>) {
      if (setting) words.push_back(option_name(field.name));
    } else {
      words.push_back(option_name(field.name));
      words.push_back(setting_text(setting.value()));
    }
  });
  return words;
}

nlohmann::ordered_json given_settings(const TrainingSettings& settings) {
  return settings_json(settings, [](const auto&, const auto& setting) { return setting.given(); });
}

nlohmann::json stage_identity(const TrainingSettings& settings) {
  return settings_json(settings, [](const auto& field, const auto& setting) {
    return setting.given() && field.identity == SettingIdentity::kValue;
  });
}

nlohmann::json training_identity(const TrainingSettings& settings) {
  return settings_json(settings,
                       [](const auto& field, const auto&) { return field.identity == SettingIdentity::kValue; });
}

}  // namespace longrope

#include "common/files/json_object.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace longrope {
namespace {

/// The value as ASCII JSON, shortened: it may be hostile and the message goes to a terminal.
std::string shown(const nlohmann::json& value) {
  constexpr std::size_t kLongestShown = 60;
  if (value.is_structured()) return fmt::format("{} of {}", value.type_name(), value.size());
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kLongestShown) text = text.substr(0, kLongestShown) + "…";
  return text;
}

bool is_integer_between(const nlohmann::json& value, std::int64_t low, std::int64_t high) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return false;
  }
  return value.get<std::int64_t>() >= low && value.get<std::int64_t>() <= high;
}

}  // namespace

JsonObject::JsonObject(const nlohmann::json& value, std::string place, std::string path)
    : value_(value), place_(std::move(place)), path_(std::move(path)) {
  if (!value_.is_object()) refuse_value(path_.empty() ? "the document" : path_, "must be an object", value_);
}

bool JsonObject::has(std::string_view key) const {
  const auto found = value_.find(key);
  return found != value_.end() && !found->is_null();
}

std::string JsonObject::text(std::string_view key) const {
  const nlohmann::json& value = at(key);
  if (!value.is_string()) refuse_value(path_of(key), "must be a string", value);
  return value.get<std::string>();
}

bool JsonObject::boolean(std::string_view key) const {
  const nlohmann::json& value = at(key);
  if (!value.is_boolean()) refuse_value(path_of(key), "must be true or false", value);
  return value.get<bool>();
}

std::int64_t JsonObject::integer(std::string_view key, std::int64_t low, std::int64_t high) const {
  const nlohmann::json& value = at(key);
  if (!is_integer_between(value, low, high)) {
    refuse_value(path_of(key), fmt::format("must be an integer between {} and {}", low, high), value);
  }
  return value.get<std::int64_t>();
}

double JsonObject::number(std::string_view key) const {
  const nlohmann::json& value = at(key);
  if (!value.is_number()) refuse_value(path_of(key), "must be a number", value);
  return value.get<double>();
}

double JsonObject::number_between(std::string_view key, double low, double high) const {
  const double value = number(key);
  if (!(value >= low && value <= high)) refuse(key, fmt::format("must be a number from {} to {}", low, high));
  return value;
}

std::vector<double> JsonObject::numbers(std::string_view key) const {
  std::vector<double> numbers;
  for (const nlohmann::json& item : array(key)) {
    if (!item.is_number()) refuse_value(fmt::format("{}[{}]", path_of(key), numbers.size()), "must be a number", item);
    numbers.push_back(item.get<double>());
  }
  return numbers;
}

std::vector<std::pair<double, double>> JsonObject::number_pairs(std::string_view key) const {
  std::vector<std::pair<double, double>> pairs;
  for (const nlohmann::json& item : array(key)) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_number() || !item[1].is_number()) {
      refuse_value(fmt::format("{}[{}]", path_of(key), pairs.size()), "must be an array of two numbers", item);
    }
    pairs.emplace_back(item[0].get<double>(), item[1].get<double>());
  }
  return pairs;
}

std::vector<std::int32_t> JsonObject::steps(std::string_view key) const {
  constexpr std::int32_t kLargest = std::numeric_limits<std::int32_t>::max();
  std::vector<std::int32_t> steps;
  for (const nlohmann::json& item : array(key)) {
    if (!is_integer_between(item, 0, kLargest)) {
      refuse_value(fmt::format("{}[{}]", path_of(key), steps.size()),
                   fmt::format("must be an integer between 0 and {}", kLargest), item);
    }
    steps.push_back(item.get<std::int32_t>());
  }
  return steps;
}

std::vector<std::string> JsonObject::texts(std::string_view key) const {
  std::vector<std::string> texts;
  for (const nlohmann::json& item : array(key)) {
    if (!item.is_string()) refuse_value(fmt::format("{}[{}]", path_of(key), texts.size()), "must be a string", item);
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

JsonObject JsonObject::object(std::string_view key) const { return {at(key), place_, path_of(key)}; }

std::vector<JsonObject> JsonObject::objects(std::string_view key) const {
  std::vector<JsonObject> objects;
  for (const nlohmann::json& item : array(key)) {
    objects.emplace_back(item, place_, fmt::format("{}[{}]", path_of(key), objects.size()));
  }
  return objects;
}

void JsonObject::refuse_unknown_keys(std::initializer_list<std::string_view> known) const {
  for (const auto& [key, value] : value_.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw InputError(fmt::format("key must be a known one: {} ({})", shown(nlohmann::json(path_of(key))), place_));
    }
  }
}

void JsonObject::refuse(std::string_view key, std::string_view rule) const {
  refuse_value(path_of(key), rule, at(key));
}

std::string JsonObject::where() const { return path_.empty() ? place_ : fmt::format("{} ({})", path_, place_); }

const nlohmann::json& JsonObject::at(std::string_view key) const {
  if (!has(key)) throw InputError(fmt::format("{} must be given: absent ({})", path_of(key), place_));
  return *value_.find(key);
}

const nlohmann::json& JsonObject::array(std::string_view key) const {
  const nlohmann::json& value = at(key);
  if (!value.is_array()) refuse_value(path_of(key), "must be an array", value);
  return value;
}

std::string JsonObject::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void JsonObject::refuse_value(std::string_view path, std::string_view rule, const nlohmann::json& value) const {
  throw InputError(fmt::format("{} {}: {} ({})", path, rule, shown(value), place_));
}

}  // namespace longrope

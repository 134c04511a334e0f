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

std::string integer_rule(std::int64_t low, std::int64_t high) {
  return fmt::format("must be an integer between {} and {}", low, high);
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

bool JsonObject::is_null(std::string_view key) const {
  const auto found = value_.find(key);
  return found != value_.end() && found->is_null();
}

bool JsonObject::is_number(std::string_view key) const {
  const auto found = value_.find(key);
  return found != value_.end() && found->is_number();
}

std::vector<std::string> JsonObject::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : value_.items()) keys.push_back(key);
  return keys;
}

std::string JsonObject::text(std::string_view key) const {
  const nlohmann::json& value = at(key);
  if (!value.is_string()) refuse_value(path_of(key), "must be a string", value);
  return value.get<std::string>();
}

std::optional<std::string> JsonObject::optional_text(std::string_view key) const {
  return has(key) ? std::optional(text(key)) : std::nullopt;
}

bool JsonObject::boolean(std::string_view key) const {
  const nlohmann::json& value = at(key);
  if (!value.is_boolean()) refuse_value(path_of(key), "must be true or false", value);
  return value.get<bool>();
}

std::optional<bool> JsonObject::optional_boolean(std::string_view key) const {
  return has(key) ? std::optional(boolean(key)) : std::nullopt;
}

std::int64_t JsonObject::integer(std::string_view key, std::int64_t low, std::int64_t high) const {
  const nlohmann::json& value = at(key);
  if (!is_integer_between(value, low, high)) {
    refuse_value(path_of(key), integer_rule(low, high), value);
  }
  return value.get<std::int64_t>();
}

std::optional<std::int64_t> JsonObject::optional_integer(std::string_view key, std::int64_t low,
                                                         std::int64_t high) const {
  return has(key) ? std::optional(integer(key, low, high)) : std::nullopt;
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

double JsonObject::number_above(std::string_view key, double low, double high) const {
  const double value = number(key);
  if (!(value > low && value <= high)) refuse(key, fmt::format("must be a number above {} and at most {}", low, high));
  return value;
}

std::optional<double> JsonObject::optional_number_above(std::string_view key, double low, double high) const {
  return has(key) ? std::optional(number_above(key, low, high)) : std::nullopt;
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

std::vector<std::int64_t> JsonObject::integers(std::string_view key, std::int64_t low, std::int64_t high) const {
  std::vector<std::int64_t> integers;
  for (const nlohmann::json& item : array(key)) {
    if (!is_integer_between(item, low, high)) {
      refuse_value(fmt::format("{}[{}]", path_of(key), integers.size()), integer_rule(low, high), item);
    }
    integers.push_back(item.get<std::int64_t>());
  }
  return integers;
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

void JsonObject::refuse(std::string_view key, std::string_view rule, const nlohmann::json& value) const {
  refuse_value(path_of(key), rule, value);
}

std::string JsonObject::where() const { return path_.empty() ? place_ : fmt::format("{} ({})", path_, place_); }

std::string JsonObject::where(std::string_view key) const { return fmt::format("{} ({})", path_of(key), place_); }

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

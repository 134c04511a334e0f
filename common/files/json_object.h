#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longrope {

/// Checked access to one object of untrusted JSON. Every getter throws InputError that names the key's path, the rule,
/// the value and the place: `model.head_dim must be an integer between 1 and 65536: 0 (factors.json)`. The optional_
/// getters return nullopt for an absent key, the others refuse it. A key whose value is null counts as absent.
/// Keeps a reference: the document must outlive it. Thread-safe.
class JsonObject {
 public:
  /// `path` is what precedes this object's keys in messages, "" for the outermost. Throws if `value` is not an object.
  JsonObject(const nlohmann::json& value, std::string place, std::string path = "");

  static constexpr std::int64_t kLargestInteger = std::numeric_limits<std::int64_t>::max();

  [[nodiscard]] bool has(std::string_view key) const;
  /// Given, with the value null: for the few keys where null means none and absence means a default.
  [[nodiscard]] bool is_null(std::string_view key) const;
  /// Whether the key is given and number() would return it.
  [[nodiscard]] bool is_number(std::string_view key) const;
  [[nodiscard]] std::vector<std::string> keys() const;  // ascending, those of null values too

  [[nodiscard]] std::string text(std::string_view key) const;
  [[nodiscard]] std::optional<std::string> optional_text(std::string_view key) const;
  [[nodiscard]] bool boolean(std::string_view key) const;
  [[nodiscard]] std::optional<bool> optional_boolean(std::string_view key) const;
  [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t low, std::int64_t high = kLargestInteger) const;
  [[nodiscard]] std::optional<std::int64_t> optional_integer(std::string_view key, std::int64_t low,
                                                             std::int64_t high = kLargestInteger) const;
  [[nodiscard]] double number(std::string_view key) const;
  [[nodiscard]] double number_between(std::string_view key, double low, double high) const;  // both bounds included
  [[nodiscard]] double number_above(std::string_view key, double low, double high) const;    // `high` included
  [[nodiscard]] std::optional<double> optional_number_above(std::string_view key, double low, double high) const;

  [[nodiscard]] std::vector<double> numbers(std::string_view key) const;
  [[nodiscard]] std::vector<std::pair<double, double>> number_pairs(std::string_view key) const;
  [[nodiscard]] std::vector<std::int64_t> integers(std::string_view key, std::int64_t low,
                                                   std::int64_t high = kLargestInteger) const;
  [[nodiscard]] std::vector<std::string> texts(std::string_view key) const;
  [[nodiscard]] JsonObject object(std::string_view key) const;
  [[nodiscard]] std::vector<JsonObject> objects(std::string_view key) const;

  void refuse_unknown_keys(std::initializer_list<std::string_view> known) const;
  /// Throws InputError with the value of the key, or with `value`: a default, or an item of an array.
  [[noreturn]] void refuse(std::string_view key, std::string_view rule) const;
  [[noreturn]] void refuse(std::string_view key, std::string_view rule, const nlohmann::json& value) const;
  /// "factors[2] (factors.json)", for messages about the object as a whole.
  [[nodiscard]] std::string where() const;
  /// "factors[2].lambda (factors.json)", for messages about what one key holds.
  [[nodiscard]] std::string where(std::string_view key) const;

 private:
  [[nodiscard]] const nlohmann::json& at(std::string_view key) const;
  [[nodiscard]] const nlohmann::json& array(std::string_view key) const;
  [[nodiscard]] std::string path_of(std::string_view key) const;
  [[noreturn]] void refuse_value(std::string_view path, std::string_view rule, const nlohmann::json& value) const;

  const nlohmann::json& value_;
  std::string place_;
  std::string path_;
};

}  // namespace longrope

#pragma once

#include "common/error.h"

#include <nlohmann/json.hpp>
#include <toml++/toml.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longrope {

/// Bounds of a number, both included unless said otherwise.
struct NumberRange {
  double low = 0.0;
  double high = 1.0;
  bool low_excluded = false;
};

/// A TOML node of a configuration file with what its error messages need. Every member function throws InputError
/// naming the key, the rule, the value, the file and the line.
struct TomlValue {
  std::string name;  // the key, or a table's dotted path in brackets
  const toml::node& node;
  const std::filesystem::path& file;

  [[nodiscard]] std::string place() const;  // " (demo.toml:31)"
  [[noreturn]] void refuse(const std::string& rule) const;

  [[nodiscard]] std::int64_t integer(std::int64_t low, std::int64_t high) const;
  [[nodiscard]] double number(const NumberRange& range) const;  // an integer will do
  [[nodiscard]] bool flag() const;
  [[nodiscard]] std::string text() const;                   // not empty, no control characters
  [[nodiscard]] std::filesystem::path path() const;         // relative to the file
  [[nodiscard]] std::chrono::milliseconds seconds() const;  // 0.001 to a week
  /// The elements of an array, each under the array's name; none twice.
  [[nodiscard]] std::vector<TomlValue> elements() const;
  /// A command line: the strings of an array, without control characters. The first is not empty, if there is one.
  [[nodiscard]] std::vector<std::string> words() const;

  /// What `parse`, which knows no place, makes of the text.
  template <typename Parse>
  [[nodiscard]] auto parsed(Parse parse) const {
    const std::string value = text();
    try {
      return parse(value);
    } catch (const InputError& error) {
      throw InputError(name + ": " + error.what() + place());
    }
  }
};

/// For a value that changes no result, so that a run may go on under another one.
struct NoIdentity {};
inline constexpr NoIdentity kNoIdentity;

/// What to do with the value of a key: how it gets into its target, and how the identity of a run has it, under which
/// alone a database goes on. Both are always said.
template <typename Target>
struct TomlField {
  using Read = std::function<void(Target&, const TomlValue&)>;
  using Identity =
      std::function<std::optional<nlohmann::json>(const Target&)>;  // nullopt: as if there were no such key

  TomlField(Read read_value, Identity identity_of_value)
      : read(std::move(read_value)), identity(std::move(identity_of_value)) {}
  TomlField(Read read_value, NoIdentity /*none*/) : read(std::move(read_value)) {}

  Read read;
  Identity identity;  // empty: kNoIdentity
};

/// One key that a table may hold.
template <typename Target>
struct TomlKey {
  std::string_view name;
  TomlField<Target> field;
  bool required = false;
};
template <typename Target>
using TomlKeys = std::vector<TomlKey<Target>>;

/// The values of `target` that are part of its identity, by key.
template <typename Target>
[[nodiscard]] nlohmann::json identity_of(const TomlKeys<Target>& keys, const Target& target) {
  nlohmann::json identity = nlohmann::json::object();
  for (const TomlKey<Target>& key : keys) {
    if (!key.field.identity) continue;
    if (std::optional<nlohmann::json> value = key.field.identity(target)) identity[key.name] = std::move(*value);
  }
  return identity;
}

/// Throws InputError for a key of `table` that is not among `known`, naming the one that was probably meant.
void refuse_unknown_keys(const TomlValue& table, const std::vector<std::string_view>& known);

/// Reads a table key by key. Unknown keys, and required ones that are missing, are InputErrors.
template <typename Target>
void read_toml_table(const TomlValue& table, const TomlKeys<Target>& keys, Target& target) {
  if (!table.node.is_table()) table.refuse("must be a table");
  std::vector<std::string_view> known;
  for (const TomlKey<Target>& key : keys) known.push_back(key.name);
  refuse_unknown_keys(table, known);
  for (const TomlKey<Target>& key : keys) {
    if (const toml::node* node = table.node.as_table()->get(key.name)) {
      key.field.read(target, TomlValue{std::string(key.name), *node, table.file});
    } else if (key.required) {
      throw InputError(std::string(key.name) + " must be given in " + table.name + table.place());
    }
  }
}

/// Parses `text`, the content of `file`; syntax errors, duplicate keys and more than 32 dots in a line are
/// InputErrors with the line.
[[nodiscard]] toml::table parse_toml(std::string_view text, const std::filesystem::path& file);

}  // namespace longrope

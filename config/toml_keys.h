#pragma once

#include "config/toml_table.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace longrope {

// Readers of one key's value into a member, for TomlKeys. They throw as TomlValue does.

inline constexpr std::int64_t kMaxTomlCount = 1'000'000;  // candidates, documents, iterations …
inline constexpr std::int64_t kMaxTomlLength = 1 << 27;   // tokens
inline constexpr NumberRange kTomlProbability{.low = 0.0, .high = 1.0};

template <typename Target>
using Read = std::function<void(Target&, const TomlValue&)>;

template <typename Target, typename Member>
Read<Target> integer(Member Target::* member, std::int64_t low, std::int64_t high = kMaxTomlCount) {
  return
      [=](Target& target, const TomlValue& value) { target.*member = static_cast<Member>(value.integer(low, high)); };
}
template <typename Target>
Read<Target> number(double Target::* member, NumberRange range) {
  return [=](Target& target, const TomlValue& value) { target.*member = value.number(range); };
}
template <typename Target>
Read<Target> seconds(std::chrono::milliseconds Target::* member) {
  return [=](Target& target, const TomlValue& value) { target.*member = value.seconds(); };
}
template <typename Target>
Read<Target> path(std::filesystem::path Target::* member) {
  return [=](Target& target, const TomlValue& value) { target.*member = value.path(); };
}
template <typename Target, typename Enum>
Read<Target> choice(Enum Target::* member, Enum (*parse)(std::string_view)) {
  return [=](Target& target, const TomlValue& value) { target.*member = value.parsed(parse); };
}
/// Names become parts of file names.
template <typename Target>
Read<Target> identifier(std::string Target::* member) {
  return [=](Target& target, const TomlValue& value) {
    constexpr std::size_t kMaxNameBytes = 64;
    constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    target.*member = value.text();
    const std::string& text = target.*member;
    if (text.size() > kMaxNameBytes || text.front() == '.' || text.find_first_not_of(kAllowed) != std::string::npos) {
      value.refuse("must be 1 to 64 of the characters a-z A-Z 0-9 . _ - and not begin with a dot");
    }
  };
}
template <typename Target, typename Member>
Read<Target> table(Member Target::* member, const TomlKeys<Member>& keys, const std::string& title) {
  return [=](Target& target, const TomlValue& value) {
    read_toml_table({title, value.node, value.file}, keys, target.*member);
  };
}
/// A table whose keys go into members of the target itself.
template <typename Target>
Read<Target> table(const TomlKeys<Target>& keys, const std::string& title) {
  return
      [=](Target& target, const TomlValue& value) { read_toml_table({title, value.node, value.file}, keys, target); };
}

}  // namespace longrope

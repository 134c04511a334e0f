#pragma once

#include "config/toml_table.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace longrope {

// Fields of one key and one member, for TomlKeys. Their readers throw as TomlValue does.

inline constexpr std::int64_t kMaxTomlCount = 1'000'000;  // candidates, documents, iterations …
inline constexpr std::int64_t kMaxTomlLength = 1 << 27;   // tokens
inline constexpr NumberRange kTomlProbability{.low = 0.0, .high = 1.0};

/// A member as it stands in the identity; null for what is not given.
template <typename Value>
nlohmann::json identity_value(const Value& value) {
  return value;
}
template <typename Value>
nlohmann::json identity_value(const std::optional<Value>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}
template <typename Target, typename Member>
typename TomlField<Target>::Identity value_of(Member Target::* member) {
  return [=](const Target& target) { return identity_value(target.*member); };
}

template <typename Target, typename Member>
TomlField<Target> integer(Member Target::* member, std::int64_t low, std::int64_t high = kMaxTomlCount) {
  return {
      [=](Target& target, const TomlValue& value) { target.*member = static_cast<Member>(value.integer(low, high)); },
      value_of(member)};
}
/// An integer that the identity has only where it is given: what was begun before there was the key goes on without it.
template <typename Target>
TomlField<Target> later_integer(std::optional<std::int64_t> Target::* member, std::int64_t low,
                                std::int64_t high = kMaxTomlCount) {
  return {integer(member, low, high).read,
          [=](const Target& target) -> std::optional<nlohmann::json> { return target.*member; }};
}
template <typename Target>
TomlField<Target> number(double Target::* member, NumberRange range) {
  return {[=](Target& target, const TomlValue& value) { target.*member = value.number(range); }, value_of(member)};
}
template <typename Target>
TomlField<Target> flag(bool Target::* member) {
  return {[=](Target& target, const TomlValue& value) { target.*member = value.flag(); }, value_of(member)};
}
template <typename Target, typename Enum>
TomlField<Target> choice(Enum Target::* member, Enum (*parse)(std::string_view)) {
  return {[=](Target& target, const TomlValue& value) { target.*member = value.parsed(parse); },
          [=](const Target& target) { return nlohmann::json(to_string(target.*member)); }};
}
/// Times are no part of an identity: they change what happens when.
template <typename Target>
TomlField<Target> seconds(std::chrono::milliseconds Target::* member) {
  return {[=](Target& target, const TomlValue& value) { target.*member = value.seconds(); }, kNoIdentity};
}
/// Files are known by the digests of their contents, wherever they lie.
template <typename Target>
TomlField<Target> path(std::filesystem::path Target::* member) {
  return {[=](Target& target, const TomlValue& value) { target.*member = value.path(); }, kNoIdentity};
}
/// Names become parts of file names. They are no part of an identity: a run may get another name, and that of a stage
/// is added by trajectory_settings().
template <typename Target>
TomlField<Target> identifier(std::string Target::* member) {
  return {[=](Target& target, const TomlValue& value) {
            constexpr std::size_t kMaxNameBytes = 64;
            constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
            target.*member = value.text();
            const std::string& text = target.*member;
            if (text.size() > kMaxNameBytes || text.front() == '.' ||
                text.find_first_not_of(kAllowed) != std::string::npos) {
              value.refuse("must be 1 to 64 of the characters a-z A-Z 0-9 . _ - and not begin with a dot");
            }
          },
          kNoIdentity};
}
template <typename Target, typename Member>
TomlField<Target> table(Member Target::* member, const TomlKeys<Member>& keys, const std::string& title) {
  return {[=](Target& target, const TomlValue& value) {
            read_toml_table({title, value.node, value.file}, keys, target.*member);
          },
          [=](const Target& target) { return identity_of(keys, target.*member); }};
}
/// A table whose keys go into members of the target itself. identity_of(keys, target) gives its identity.
template <typename Target>
TomlField<Target> table(const TomlKeys<Target>& keys, const std::string& title) {
  return {
      [=](Target& target, const TomlValue& value) { read_toml_table({title, value.node, value.file}, keys, target); },
      kNoIdentity};
}

}  // namespace longrope

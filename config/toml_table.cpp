#include "config/toml_table.h"

#include "common/suggestion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

namespace longrope {
namespace {

constexpr std::size_t kMaxShownBytes = 80;  // bytes of a value or key that a message shows
constexpr NumberRange kSeconds{.low = 0.001, .high = 604'800.0};

std::string shortened(const std::string& text) {
  if (text.size() <= kMaxShownBytes) return text;
  std::size_t end = kMaxShownBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;  // keep UTF-8 characters whole
  return text.substr(0, end) + " …";
}

std::string as_written(const toml::node& node) {
  std::ostringstream out;
  out << toml::node_view<const toml::node>(node);
  return out.str();
}

std::string line_of(const std::filesystem::path& file, const toml::source_region& source) {
  return fmt::format(" ({}:{})", file.string(), source.begin.line);
}

/// toml++ 3.3 limits how deep values nest (256), but not the tables that a dotted key opens: each is a level of
/// recursion when the tree is destroyed, so that a key of some 30,000 dots overflows 8 MiB of stack. Both limits
/// together leave at most 256 · 33 levels.
void require_few_dots_in_lines(std::string_view text, const std::filesystem::path& file) {
  constexpr std::ptrdiff_t kMaxDots = 32;
  std::size_t line = 1;
  while (!text.empty()) {
    const std::string_view content = text.substr(0, text.find('\n'));
    if (const auto dots = std::count(content.begin(), content.end(), '.'); dots > kMaxDots) {
      throw InputError(
          fmt::format("a line must not hold more than {} dots: {} ({}:{})", kMaxDots, dots, file.string(), line));
    }
    text.remove_prefix(std::min(content.size() + 1, text.size()));
    ++line;
  }
}

std::string without_control_characters(const TomlValue& value) {
  if (!value.node.is_string()) value.refuse("must be a string");
  const std::string& text = value.node.as_string()->get();
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20U || c == 0x7F; };
  if (std::any_of(text.begin(), text.end(), control)) value.refuse("must not hold control characters");
  return text;
}

}  // namespace

std::string TomlValue::place() const { return line_of(file, node.source()); }

void TomlValue::refuse(const std::string& rule) const {
  // A whole table would be no help in a message.
  const std::string value = node.is_table() ? "" : ": " + shortened(as_written(node));
  throw InputError(name + " " + rule + value + place());
}

std::int64_t TomlValue::integer(std::int64_t low, std::int64_t high) const {
  if (!node.is_integer()) refuse("must be an integer");
  const std::int64_t value = node.as_integer()->get();
  if (value < low || value > high) refuse(fmt::format("must lie in [{}, {}]", low, high));
  return value;
}

double TomlValue::number(const NumberRange& range) const {
  if (!node.is_number()) refuse("must be a number");
  // Not node.value<double>(), which has none for integers that no double equals.
  const double value =
      node.is_integer() ? static_cast<double>(node.as_integer()->get()) : node.as_floating_point()->get();
  if (!std::isfinite(value)) refuse("must be finite");
  if (value < range.low || value > range.high || (range.low_excluded && value == range.low)) {
    refuse(fmt::format("must lie in {}{}, {}]", range.low_excluded ? '(' : '[', range.low, range.high));
  }
  return value;
}

bool TomlValue::flag() const {
  if (!node.is_boolean()) refuse("must be true or false");
  return node.as_boolean()->get();
}

std::string TomlValue::text() const {
  std::string value = without_control_characters(*this);
  if (value.empty()) refuse("must not be empty");
  return value;
}

std::filesystem::path TomlValue::path() const { return (file.parent_path() / text()).lexically_normal(); }

std::chrono::milliseconds TomlValue::seconds() const {
  return std::chrono::round<std::chrono::milliseconds>(std::chrono::duration<double>(number(kSeconds)));
}

std::vector<TomlValue> TomlValue::elements() const {
  if (!node.is_array()) refuse("must be an array");
  std::vector<TomlValue> values;
  std::vector<std::string> seen;
  for (const toml::node& element : *node.as_array()) {
    values.push_back({name, element, file});
    seen.push_back(as_written(element));
  }
  std::sort(seen.begin(), seen.end());
  if (std::adjacent_find(seen.begin(), seen.end()) != seen.end()) refuse("must not hold a value twice");
  return values;
}

std::vector<std::string> TomlValue::words() const {
  if (!node.is_array()) refuse("must be an array");
  std::vector<std::string> words;
  for (const toml::node& element : *node.as_array()) {
    const TomlValue word{name, element, file};
    words.push_back(words.empty() ? word.text() : without_control_characters(word));
  }
  return words;
}

void refuse_unknown_keys(const TomlValue& table, const std::vector<std::string_view>& known) {
  for (const auto& [key, node] : *table.node.as_table()) {
    if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
    throw InputError(fmt::format("unknown key in {}: {}{}{}", table.name, shortened(std::string(key.str())),
                                 suggestion(key.str(), known), line_of(table.file, key.source())));
  }
}

toml::table parse_toml(std::string_view text, const std::filesystem::path& file) {
  require_few_dots_in_lines(text, file);
  try {
    return toml::parse(text, file.string());
  } catch (const toml::parse_error& error) {
    throw InputError(
        fmt::format("the file must be valid TOML: {}{}", error.description(), line_of(file, error.source())));
  }
}

}  // namespace longrope

#include "common/vllm_config.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "common/error.h"
#include "common/strict_json.h"

namespace longrope {
namespace {

constexpr std::string_view kKey = "hf-overrides:";

/// What follows the key on its line, without spaces around it; nullopt when no line begins with the key.
std::optional<std::string_view> overrides_of(std::string_view text, std::string_view place) {
  constexpr std::string_view kSpaces = " \t\r";
  std::optional<std::string_view> found;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.starts_with(kKey)) continue;
    if (found) throw InputError(fmt::format("hf-overrides must be given once: twice ({})", place));
    line.remove_prefix(kKey.size());
    line.remove_prefix(std::min(line.find_first_not_of(kSpaces), line.size()));
    found = line.substr(0, line.find_last_not_of(kSpaces) + 1);
  }
  return found;
}

}  // namespace

bool is_vllm_config(std::string_view text) {
  return text.starts_with(kKey) || text.find(fmt::format("\n{}", kKey)) != std::string_view::npos;
}

nlohmann::json parse_vllm_overrides(std::string_view text, std::string_view table, const std::string& place) {
  const std::string_view quoted = overrides_of(text, place).value_or("");
  // A quote inside would have to be doubled; JSON of numbers and plain names has none.
  const bool is_quoted = quoted.size() >= 2 && quoted.find('\'', 1) == quoted.size() - 1 && quoted.front() == '\'';
  if (!is_quoted) {
    throw InputError(
        fmt::format("hf-overrides must be JSON in single quotes on one line: {} ({})", quoted.substr(0, 40), place));
  }
  nlohmann::json config = parse_strict_json(quoted.substr(1, quoted.size() - 2), place);
  const std::string mscale = fmt::format("{}_mscale", table);
  for (const char* const key : {"rope_parameters", "rope_scaling"}) {
    if (!config.is_object() || !config.contains(key) || !config[key].contains(mscale)) continue;
    config[key]["attention_factor"] = config[key][mscale];
  }
  return config;
}

}  // namespace longrope

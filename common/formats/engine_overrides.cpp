#include "common/formats/engine_overrides.h"

#include "common/error.h"
#include "common/files/json_object.h"
#include "common/files/strict_json.h"
#include "common/files/strict_yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

namespace longrope {
namespace {

constexpr std::string_view kAxolotl = "overrides_of_model_config";
constexpr std::array<std::string_view, 3> kKeys{"hf-overrides", "hf_overrides", kAxolotl};

std::string_view overrides_key(const JsonObject& config) {
  std::optional<std::string_view> found;
  for (const std::string_view key : kKeys) {
    if (!config.has(key)) continue;
    if (found) {
      throw InputError(fmt::format("overrides must be given once: {} and {} ({})", *found, key, config.where()));
    }
    found = key;
  }
  if (!found) throw InputError(fmt::format("YAML must have {}: none ({})", fmt::join(kKeys, " or "), config.where()));
  return *found;
}

}  // namespace

bool has_engine_overrides(std::string_view text) {
  return std::ranges::any_of(kKeys, [&](std::string_view key) {
    return text.starts_with(fmt::format("{}:", key)) || text.find(fmt::format("\n{}:", key)) != std::string_view::npos;
  });
}

nlohmann::json parse_engine_overrides(std::string_view text, std::string_view table, const std::string& place) {
  const nlohmann::json document = parse_strict_yaml(text, place);
  const JsonObject config(document, place);
  const std::string_view key = overrides_key(config);
  if (key == kAxolotl) return document[key];
  nlohmann::json overrides = document[key].is_string() ? parse_strict_json(config.text(key), place) : document[key];
  const std::string mscale = fmt::format("{}_mscale", table);
  for (const char* const rope : {"rope_parameters", "rope_scaling"}) {
    if (!overrides.is_object() || !overrides.contains(rope) || !overrides[rope].contains(mscale)) continue;
    overrides[rope]["attention_factor"] = overrides[rope][mscale];
  }
  return overrides;
}

}  // namespace longrope

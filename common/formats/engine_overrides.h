#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace longrope {

/// Is it YAML that overrides a config.json: a configuration file of `vllm serve --config`, with hf-overrides (or
/// hf_overrides) at the beginning of a line, or one of axolotl, with overrides_of_model_config?
[[nodiscard]] bool has_engine_overrides(std::string_view text);

/// The overrides of such a file, as config.json would say them: a mapping, for vLLM also JSON as text; other keys are
/// of no interest. vLLM reads short_mscale and long_mscale and not attention_factor (spec §8.3), so attention_factor
/// becomes the one of `table`, "short" or "long", where it is given.
/// Throws InputError naming `place`: what parse_strict_yaml() and parse_strict_json() refuse, overrides of both
/// programs, overrides that are neither.
[[nodiscard]] nlohmann::json parse_engine_overrides(std::string_view text, std::string_view table,
                                                    const std::string& place);

}  // namespace longrope

#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace longrope {

/// Whether the text is YAML that overrides keys of a config.json: a configuration file of `vllm serve --config`, with
/// hf-overrides (or hf_overrides) at the beginning of a line, or one of axolotl, with overrides_of_model_config.
[[nodiscard]] bool has_engine_overrides(std::string_view text);

/// The overrides of such a file in the form of config.json: a mapping, for vLLM also JSON as text. Other keys of the
/// file are ignored. vLLM reads short_mscale and long_mscale in place of attention_factor (spec §8.3), so in what is
/// returned attention_factor is the mscale of `table`, "short" or "long", where the file gives it.
/// Throws InputError naming `place` for what parse_strict_yaml() or parse_strict_json() refuses, and for a file that
/// has no overrides or more than one of the three keys.
[[nodiscard]] nlohmann::json parse_engine_overrides(std::string_view text, std::string_view table,
                                                    const std::string& place);

}  // namespace longrope

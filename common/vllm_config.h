#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace longrope {

/// Is it a configuration file of `vllm serve --config`, with hf-overrides at the beginning of a line?
[[nodiscard]] bool is_vllm_config(std::string_view text);

/// The hf-overrides of such a file, as config.json would say them: JSON in single quotes on one line, as the export
/// writes it; other lines are of no interest. vLLM reads short_mscale and long_mscale and not attention_factor
/// (spec §8.3), so attention_factor becomes the one of `table`, "short" or "long", where it is given.
/// Throws InputError naming `place`: other YAML than that, several hf-overrides, what is not strict JSON.
[[nodiscard]] nlohmann::json parse_vllm_overrides(std::string_view text, std::string_view table,
                                                  const std::string& place);

}  // namespace longrope

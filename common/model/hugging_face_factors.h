#pragma once

#include "common/rope/rescale_factors.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace longrope {

/// λ (the long_factor) and attention factor of a Hugging Face config.json with `rope_scaling` (transformers 4) or
/// `rope_parameters` (transformers 5) of type "longrope" or its old name "su"; spec §8.1, §8.2.
/// m is `attention_factor` when given (policy value), else su for the extension ratio. That ratio is
/// max_position_embeddings / original_max_position_embeddings; an explicit `factor` wins over it in `rope_parameters`,
/// and in `rope_scaling` where the config names no original length. The number of factors is checked when the config
/// says head_dim, or hidden_size and num_attention_heads.
/// Throws InputError naming `place` and key. Per-layer-type rope_parameters are refused.
[[nodiscard]] RescaleFactors parse_hugging_face_factors(const nlohmann::json& config, const std::string& place);
/// The same with the short_factor: what is used up to and including the original length.
[[nodiscard]] RescaleFactors parse_hugging_face_short_factors(const nlohmann::json& config, const std::string& place);

/// original_max_position_embeddings of such a config, the longest sequence that takes the short_factor; nullopt where
/// it names none. Throws InputError for less than 2.
[[nodiscard]] std::optional<std::int64_t> parse_hugging_face_short_length(const nlohmann::json& config,
                                                                          const std::string& place);

}  // namespace longrope

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "common/rescale_factors.h"

namespace longrope {

// Factors for programs that take overrides of the untouched model's config.json, as the text of their configuration
// files. Both throw InputError as export_hugging_face() does: n_hat > 0, factors or a length that do not fit.

/// `vllm serve MODEL --config FILE`: hf-overrides and max-model-len. vLLM does not read attention_factor but
/// short_mscale and long_mscale, and takes the long factors for every sequence when max-model-len is above the original
/// length (spec §8.3).
[[nodiscard]] std::string vllm_config(const std::filesystem::path& model_directory, const RescaleFactors& factors,
                                      std::int64_t target_length);

/// Keys for an axolotl configuration: overrides_of_model_config and sequence_len (spec §10). short_factor is λ too:
/// samples below the original length would be trained with another table.
[[nodiscard]] std::string axolotl_config(const std::filesystem::path& model_directory, const RescaleFactors& factors,
                                         std::int64_t target_length);

}  // namespace longrope

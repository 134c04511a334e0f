#pragma once

#include "common/formats/engine_tables.h"
#include "common/formats/hugging_face_export.h"

#include <filesystem>
#include <string>

namespace longrope {

// Factors for programs that take overrides of the untouched model's config.json, as the text of their configuration
// files, for the transformers that runs with them: the other version ignores the keys of this one without a word. Both
// throw InputError for what require_expressible() refuses (engine_tables.h).

/// `vllm serve MODEL --config FILE`: hf-overrides and max-model-len. vLLM does not read attention_factor but
/// short_mscale and long_mscale, so the tables may have one each (the long one's for both without a short table), and
/// takes the long factors for every sequence when max-model-len is above the original length (spec §8.3).
[[nodiscard]] std::string vllm_config(const std::filesystem::path& model_directory, const EngineTables& tables,
                                      HuggingFaceTarget target);

/// Keys for an axolotl configuration: overrides_of_model_config and sequence_len (spec §10). Without a short table
/// short_factor is λ too: samples below the original length would be trained with another table. With one they are,
/// as in mixed windows (spec §7.5); two attention factors are then refused.
[[nodiscard]] std::string axolotl_config(const std::filesystem::path& model_directory, const EngineTables& tables,
                                         HuggingFaceTarget target);

}  // namespace longrope

#pragma once

#include "common/formats/engine_tables.h"
#include "common/formats/hugging_face_export.h"

#include <string>

namespace longrope {

// Factors for programs that override keys of the untouched model's config.json, as the text of their configuration
// files. `target` is the transformers that runs with them: each major version ignores the keys of the other without a
// message. Both functions throw InputError for what require_expressible() refuses (engine_tables.h).

/// The file of `vllm serve MODEL --config FILE`: hf-overrides and max-model-len. vLLM reads short_mscale and
/// long_mscale in place of attention_factor, so each table may have an attention factor of its own (without a short
/// table both are the long one's). It takes the long factors for every sequence when max-model-len is above the
/// original length (spec §8.3).
[[nodiscard]] std::string vllm_config(const ModelDescription& model, const EngineTables& tables,
                                      HuggingFaceTarget target);

/// Keys for an axolotl configuration: overrides_of_model_config and sequence_len (spec §10). Without a short table
/// short_factor is λ too, because samples up to the original length would be trained with another table otherwise. With
/// a short table they are, as in mixed windows (spec §7.5), and two different attention factors are refused.
[[nodiscard]] std::string axolotl_config(const ModelDescription& model, const EngineTables& tables,
                                         HuggingFaceTarget target);

}  // namespace longrope

#pragma once

#include "common/model/model_description.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace longrope {

inline constexpr const char* kFactorsHelp =
    "none, pi, ntk, yarn, ramp, or a FILE: canonical JSON, the authors' CSV, a Hugging Face config.json or vLLM's "
    "overrides";
inline constexpr const char* kAttentionFactorHelp =
    "su, yarn, none or a number [what the file says; yarn for yarn, none otherwise]";

/// Whether `factors` names a formula and not a file.
[[nodiscard]] bool is_closed_form(std::string_view factors);

/// What --factors and --attention-factor mean for a model and a length. The name of a closed form wins over a file of
/// that name (write ./pi for the file). "none" is the model as it is. On a model that carries rope scaling the other
/// closed forms extend it from the length it reaches: λ and attention factor are multiplied by its own (spec §5.1).
/// Factors of a file and a given attention factor replace the model's. Throws InputError for anything that does not fit
/// the model.
[[nodiscard]] RescaleFactors named_factors(const std::string& factors, const std::string& attention_factor,
                                           const ModelDescription& model, std::int64_t length);

}  // namespace longrope

#pragma once

#include <cstdint>
#include <string>

#include "common/closed_form_factors.h"

namespace longrope {

inline constexpr const char* kFactorsHelp =
    "none, pi, ntk, yarn, ramp, or a FILE: canonical JSON, the authors' CSV, or a Hugging Face config.json";
inline constexpr const char* kAttentionFactorHelp =
    "su, yarn, none or a number [what the file says; yarn for yarn, none otherwise]";

/// What --factors and --attention-factor mean for a model and a length. A name of a closed form wins over a file of
/// that name (write ./pi for the file). Throws InputError for anything that does not fit the model.
[[nodiscard]] RescaleFactors named_factors(const std::string& factors, const std::string& attention_factor,
                                           const RotaryGeometry& geometry, std::int64_t length);

}  // namespace longrope

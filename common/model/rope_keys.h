#pragma once

#include "common/files/json_object.h"

#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// A sentence for each key of `rope` (rope_scaling or rope_parameters of config.json) that changes no number here
/// though whoever wrote it meant it to: keys that transformers ignores and other engines use, with what each engine
/// does (nothing where they get the m that the model has here), and keys unknown for the rope type `type`, with the
/// known one that was probably meant. At most nine sentences, each with the key's place. `attention_factor`: m of the
/// model as it is computed here, which some of them name. A pure function.
[[nodiscard]] std::vector<std::string> ignored_rope_keys(const JsonObject& rope, std::string_view type,
                                                         double attention_factor);

}  // namespace longrope

#pragma once

#include "common/formats/factors_file.h"
#include "common/model/model_description.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace longrope {

/// A canonical factors file for one model, and what a person should know of it.
struct ModelFactors {
  FactorsFile file;
  std::vector<std::string> warnings;  // each names the file that the factors come from
};

/// Factors from elsewhere, `factors` and `attention_factor` as named_factors() takes them, for `model` at `length`
/// tokens. A config.json or overrides with two different tables give a schedule: the short one up to the original
/// length that they name. Warns of λ that are unusual (unusual_properties). Throws InputError for anything that does
/// not fit the model.
[[nodiscard]] ModelFactors import_factors(const std::string& factors, const std::string& attention_factor,
                                          const ModelDescription& model, std::int64_t length);

/// A canonical file whose λ mean for `model` what they meant for the model that they were found for. Throws InputError
/// when rotary_dim or rope_theta differ, warns when the checkpoint does. A file that names no model gets this one.
[[nodiscard]] ModelFactors read_factors_for(const std::filesystem::path& path, const ModelDescription& model);

/// Puts the one table of `recovered` (a short-context recovery) before the one table of `file`, which becomes a
/// schedule of both. Throws InputError naming `place` when either has another number of tables, or the short one
/// reaches as far.
void add_short_table(FactorsFile& file, FactorsFile recovered, const std::string& place);

}  // namespace longrope

#pragma once

#include "common/formats/factors_file.h"
#include "common/model/model_description.h"
#include "coordinator/store/store_reader.h"

#include <filesystem>
#include <optional>
#include <string>

namespace longrope {

/// Best factors of a search and the model they were searched for, as a canonical factors file has them.
struct Winner {
  BestFactors best;
  FactorsFile file;
};

/// The winner of a stage [the last finished] of a search database. Throws Error when no candidate has been told yet,
/// InputError when `model` is not the one that was searched.
[[nodiscard]] Winner winner_of_search(const std::filesystem::path& database, const std::optional<std::string>& stage,
                                      const IdentifiedModel& model);

}  // namespace longrope

#pragma once

#include "common/formats/factors_file.h"
#include "common/model/model_description.h"
#include "coordinator/store/store_reader.h"

#include <filesystem>
#include <optional>
#include <string>

namespace longrope {

/// The best factors of a search, and a canonical factors file that holds them and the model they were searched for.
struct Winner {
  BestFactors best;
  FactorsFile file;
};

/// The winner of `stage` (by default of the last finished stage) in a search database; before the stage has chosen, its
/// best candidate so far. Throws Error when no candidate has been scored yet, InputError when `model` is not the one
/// that was searched.
[[nodiscard]] Winner winner_of_search(const std::filesystem::path& database, const std::optional<std::string>& stage,
                                      const IdentifiedModel& model);

}  // namespace longrope

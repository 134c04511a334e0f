#pragma once

#include "common/model/model_description.h"
#include "config/config.h"
#include "coordinator/coordinator.h"

#include <cstdint>
#include <filesystem>
#include <optional>

namespace longrope {

struct LocalSearch {
  const Config& config;
  const IdentifiedModel& model;         // the configuration's
  std::filesystem::path database;       // created, or continued; NAME.workers.log beside it takes what workers print
  std::optional<std::int64_t> workers;  // processes [cores / threads of the configuration]
};

/// Searches with worker processes on this machine until the search is finished (true) or a signal asks to stop (false);
/// nothing is lost then. `reports.progress` is called after every batch. Throws InputError as prepare_search() does,
/// before anything is written, and Error when a worker cannot serve the search.
bool search_locally(const LocalSearch& search, Coordinator::Reports reports);

}  // namespace longrope

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
  const IdentifiedModel& model;         // the one that the configuration names
  std::filesystem::path database;       // created, or continued; workers print into DATABASE.workers.log
  std::optional<std::int64_t> workers;  // processes; by default the cores divided by the configuration's threads
};

/// Searches with worker processes on this machine until the search is finished (true) or a signal asks to stop (false),
/// after which the same call continues. `reports.progress` is called after every batch. Throws InputError as
/// prepare_search() does, before anything is written, and Error when a worker cannot serve the search.
bool search_locally(const LocalSearch& search, Coordinator::Reports reports);

}  // namespace longrope

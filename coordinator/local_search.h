#pragma once

#include "common/model/model_description.h"
#include "config/config.h"
#include "coordinator/coordinator.h"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

struct LocalSearch {
  const Config& config;
  const IdentifiedModel& model;      // the one that the configuration names
  std::filesystem::path database;    // created, or continued; workers print into DATABASE.workers.log
  std::vector<std::string> workers;  // the device of each worker process: "cpu", "cuda:0", …
};

/// Searches with worker processes on this machine until the search is finished (true) or a signal asks to stop (false),
/// after which the same call continues. `reports.progress` is called after every batch. Throws InputError as
/// prepare_search() does, before anything is written, and as require_same_device_kind() does, before a worker starts.
/// Throws Error when a worker cannot serve the search.
bool search_locally(const LocalSearch& search, Coordinator::Reports reports);

/// Throws InputError when workers computed results in `database` on a CPU and `device` is a GPU, or the reverse: such
/// results differ in their last bits, and a search compares them.
void require_same_device_kind(const std::filesystem::path& database, std::string_view device);

}  // namespace longrope

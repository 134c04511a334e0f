#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "cli/progress_display.h"
#include "common/config.h"
#include "coordinator/coordinator.h"

namespace longrope {

/// Coordinator and display over one search database. Not thread-safe.
struct SearchSession {
  /// Prepares the search and opens the database; throws as prepare_search and Store do.
  SearchSession(const Config& given, std::filesystem::path database_file);

  /// Searches with worker processes on this machine [cores / threads of the configuration] until the search is finished
  /// (true) or a signal asks to stop (false); nothing is lost then. Throws Error when a worker cannot serve it.
  bool serve_local_workers(std::optional<std::int64_t> workers);

  Config config;
  std::filesystem::path database;
  ProgressDisplay display;
  std::function<void()> each_round;
  Coordinator coordinator;
};

}  // namespace longrope

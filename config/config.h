#pragma once

#include "common/rope/rotary_table.h"
#include "common/wire/score_result.h"
#include "config/pipeline_config.h"
#include "config/search_config.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// [scheduling]: changes what happens when, never which candidates are found.
struct SchedulingConfig {
  std::chrono::milliseconds heartbeat_interval{1000};
  std::chrono::milliseconds worker_timeout{10000};  // silence after which a worker is given up
  std::chrono::milliseconds lease_timeout{300000};  // no progress in the compute loop for so long: lease expires
  std::int64_t credit = 2;                          // leases a worker holds at most
  std::int64_t max_failures = 3;                    // of one evaluation, before its candidate is quarantined
};

struct Config {
  std::filesystem::path file;
  std::string text;  // as read, kept in the database as provenance
  std::string name;
  std::uint64_t seed = 0;
  std::filesystem::path model;  // Hugging Face directory
  ComputeDtype dtype = ComputeDtype::kFp32;
  AngleMode angles = AngleMode::kFp64;
  std::int64_t threads_per_worker = 1;
  SchedulingConfig scheduling;
  std::vector<PipelineStage> stages;  // in the order of the file; at least one

  /// Searches of one model that know nothing of each other share one search database; anything else is a pipeline.
  [[nodiscard]] bool is_pipeline() const;
};

/// Reads TOML; relative paths are relative to the file. Unknown or duplicate keys, wrong types and values out of range
/// throw InputError naming the key, the value, the file and the line. Reference: schemas/config_reference.md.
[[nodiscard]] Config load_config(const std::filesystem::path& path);

/// Canonical JSON of everything in the configuration that the trajectory depends on; a database is not continued under
/// another text. All stages are searches. Scheduling, time limits and paths are left out. Model and documents are
/// identified by digests that the database keeps itself; seed files are read and stand here as the SHA-256 of their
/// content.
[[nodiscard]] std::string trajectory_settings(const Config& config);

}  // namespace longrope

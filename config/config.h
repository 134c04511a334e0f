#pragma once

#include "common/rope/rotary_table.h"
#include "common/wire/score_result.h"
#include "config/pipeline_config.h"
#include "config/search_config.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// [scheduling]: changes what happens when, never which candidates are found; may change from one start to the next.
struct SchedulingConfig {
  /// How often a worker reports its progress. Shorter notices a dead worker sooner and sends more messages.
  std::chrono::milliseconds heartbeat_interval{1000};
  /// Silence after which a worker is given up and its documents are handed to others. Above heartbeat_interval; too
  /// short a time gives up workers whose network is slow.
  std::chrono::milliseconds worker_timeout{10000};
  /// A worker that reports, but whose computation has not moved for so long, loses its documents to others. Above
  /// heartbeat_interval, and above the longest time between two steps of a scoring, or slow workers are given up too.
  std::chrono::milliseconds lease_timeout{300000};
  /// Documents a worker holds at most. 1 lets it idle while a result travels; more are lost with it when it dies.
  std::int64_t credit = 2;
  /// Failures of one evaluation, by two workers where there are two, after which its candidate is quarantined: told as
  /// infinity, never a parent.
  std::int64_t max_failures = 3;
};

/// A configuration file as read and checked. Paths are absolute or relative to the working directory.
struct Config {
  /// The file that was read, for messages.
  std::filesystem::path file;
  /// Its content; kept in the database to document the run.
  std::string text;

  /// Name of the run. Required. The database is called NAME.db where no other is named, and the models that a pipeline
  /// makes NAME-STAGE: a pipeline that has begun must keep its name.
  std::string name;
  /// Keys the random streams of all stages. Default 0. Another seed is another search, and another training.
  std::uint64_t seed = 0;

  /// Hugging Face directory of the model. Required.
  std::filesystem::path model;
  /// Tokens that `model` is made for. Default: what its config.json says. To be given where that leaves open whether
  /// max_position_embeddings is already the extended length: closed forms, bounds and what is an extension at all are
  /// measured from it. The config.json of a checkpoint that a pipeline trains says its own.
  std::optional<std::int64_t> reached_length;
  /// Dtype that the model computes in. Default fp32. bf16 is faster where the device has bfloat16 instructions, and
  /// gives other results.
  ComputeDtype dtype = ComputeDtype::kFp32;
  /// Precision of the rotary angles. Default fp64; hf_fp32 reproduces Hugging Face, with its errors at long positions.
  AngleMode angles = AngleMode::kFp64;

  /// CPU threads of each worker process. Default 1. `longrope run` starts as many workers as the cores allow. Sums may
  /// depend on it in their last bits, so a database goes on under the same number only.
  std::int64_t threads_per_worker = 1;
  /// Devices to compute on, all of one kind: "cpu" or "cuda:N" (config/device_names.h). `longrope run` starts a worker
  /// and a process of a fine-tuning for each; evaluations take the first. Default empty ("auto"): all GPUs of the
  /// machine, or its CPU where there is none. Changes no candidate of a search, but the number of processes changes the
  /// bits of a fine-tuning, which goes on under the same number only.
  std::vector<std::string> devices;
  SchedulingConfig scheduling;

  /// All stages in the order of the file, at least one. Their names differ.
  std::vector<PipelineStage> stages;

  /// False when all stages are searches of `model` that take nothing from each other: they share one search database.
  [[nodiscard]] bool is_pipeline() const;
};

/// Reads TOML; relative paths are relative to the file. Unknown or duplicate keys, wrong types and values out of range
/// throw InputError naming the key, the value, the file and the line. Reference: schemas/config_reference.md.
[[nodiscard]] Config load_config(const std::filesystem::path& path);

/// Canonical JSON of what holds for all stages and changes their results: seed, dtype, angles, threads.
[[nodiscard]] nlohmann::json run_identity(const Config& config);

/// Canonical JSON of everything in the configuration that the trajectory depends on; a database is not continued under
/// another text. All stages are searches. Scheduling, time limits and paths are left out. Model and documents are
/// identified by digests that the database keeps itself; seed files are read and stand here as the SHA-256 of their
/// content.
[[nodiscard]] std::string trajectory_settings(const Config& config);

}  // namespace longrope

#include "config/config.h"

#include "common/error.h"
#include "common/files/read_file.h"
#include "config/device_names.h"
#include "config/stage_keys.h"
#include "config/toml_keys.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <utility>

namespace longrope {
namespace {

constexpr std::size_t kMaxConfigBytes = 1U << 20;

// How leases are kept changes what happens when, and no result.
void read_scheduling(Config& config, const TomlValue& value) {
  using S = SchedulingConfig;
  constexpr std::int64_t kMaxCredit = 64;
  static const TomlKeys<S> keys = {
      {"heartbeat_interval_seconds", seconds(&S::heartbeat_interval)},
      {"worker_timeout_seconds", seconds(&S::worker_timeout)},
      {"lease_timeout_seconds", seconds(&S::lease_timeout)},
      {"credit", integer(&S::credit, 1, kMaxCredit)},
      {"max_failures", integer(&S::max_failures, 1)},
  };
  read_toml_table({"[scheduling]", value.node, value.file}, keys, config.scheduling);
  for (const auto& [name, timeout] : {std::pair("worker_timeout_seconds", config.scheduling.worker_timeout),
                                      std::pair("lease_timeout_seconds", config.scheduling.lease_timeout)}) {
    if (timeout > config.scheduling.heartbeat_interval) continue;
    throw InputError(std::string(name) + " must exceed heartbeat_interval_seconds: " + std::to_string(timeout.count()) +
                     " ms" + value.place());
  }
}

TomlKeys<Config> run_keys() {
  return {{"name", identifier(&Config::name), /*required=*/true},
          {"seed", integer(&Config::seed, 0, std::numeric_limits<std::int64_t>::max())}};
}

TomlKeys<Config> model_keys() {
  return {{"path", path(&Config::model), /*required=*/true},
          {"reached_length", later_integer(&Config::reached_length, 2, kMaxTomlLength)},
          {"dtype", choice(&Config::dtype, &parse_compute_dtype)},
          {"angles", choice(&Config::angles, &parse_angle_mode)}};
}

/// "auto" or an array of names. No part of the identity: a search finds the same candidates on any number of devices.
void read_devices(Config& config, const TomlValue& value) {
  if (value.node.is_string() && value.text() != "auto") value.refuse("must be \"auto\" or an array of devices");
  try {
    config.devices = parse_devices(value.node.is_string() ? std::vector<std::string>{"auto"} : value.words());
  } catch (const InputError& error) {
    throw InputError(error.what() + value.place());
  }
}

TomlKeys<Config> worker_keys() {
  constexpr std::int64_t kMaxThreads = 1024;
  return {{"threads", integer(&Config::threads_per_worker, 1, kMaxThreads)}, {"devices", {read_devices, kNoIdentity}}};
}

void read_stages(Config& config, const TomlValue& value) { config.stages = read_pipeline(value); }

TomlKeys<Config> config_keys() {
  return {
      {"run", table(run_keys(), "[run]"), /*required=*/true},
      {"model", table(model_keys(), "[model]"), /*required=*/true},
      {"worker", table(worker_keys(), "[worker]")},
      {"scheduling", {read_scheduling, kNoIdentity}},
      {"stage", {read_stages, kNoIdentity}, /*required=*/true},  // each has an identity of its own
  };
}

}  // namespace

bool Config::is_pipeline() const {
  return !std::ranges::all_of(stages, [](const PipelineStage& stage) {
    return stage.kind == StageKind::kSearch && std::get<SearchStage>(stage.work).seed_stages.empty();
  });
}

Config load_config(const std::filesystem::path& path) {
  Config config;
  config.file = path;
  config.text = read_file(path, kMaxConfigBytes);
  const toml::table root = parse_toml(config.text, path);
  read_toml_table({"the file", root, config.file}, config_keys(), config);
  return config;
}

nlohmann::json run_identity(const Config& config) {
  nlohmann::json identity;
  for (const TomlKeys<Config>& keys : {run_keys(), model_keys(), worker_keys()}) {
    identity.update(identity_of(keys, config));
  }
  return identity;
}

std::string trajectory_settings(const Config& config) {
  nlohmann::json settings = run_identity(config);
  settings["stages"] = nlohmann::json::array();
  for (const PipelineStage& stage : config.stages) {
    settings["stages"].push_back(trajectory_settings(std::get<SearchStage>(stage.work)));
  }
  return settings.dump();
}

}  // namespace longrope

#pragma once

#include "worker/worker_protocol.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>

namespace longrope {

struct WorkerOptions {
  std::string endpoint;              // of the coordinator: "tcp://HOST:PORT"
  std::filesystem::path model_root;  // holds the model's directory, or is that directory
  std::string device = "cpu";        // as ScorerOptions::device
  std::int64_t threads = 0;          // default 0: as many as the coordinator's configuration says
  std::int64_t memory_budget = 0;    // bytes, as ScorerOptions::memory_budget; default 0: what the machine can give
  std::string id;                    // stable over restarts; unique among the workers of a search
};

/// The directory of the model called `name`: model_root/name, or model_root itself if that is its last component.
/// Throws InputError if `name` (a peer sent it) is not one plain path component, or nothing is there.
[[nodiscard]] std::filesystem::path find_model(const std::filesystem::path& model_root, const std::string& name);

/// Serves one coordinator until it dismisses or refuses the worker, or `stop` is set: then says that it leaves. Logs a
/// warning, after five seconds and then once a minute, while no coordinator answers. The scoring thread may be in the
/// middle of a document and cannot be interrupted: the caller must end the process with std::_Exit(status) after
/// flushing. Throws InputError as checked_endpoint().
[[nodiscard]] WorkerExit run_worker(const WorkerOptions& options, const std::atomic<bool>& stop);

}  // namespace longrope

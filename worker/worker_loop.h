#pragma once

#include "worker/worker_protocol.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>

namespace longrope {

struct WorkerOptions {
  std::string endpoint;              // of the coordinator
  std::filesystem::path model_root;  // holds the model's directory, or is it
  std::string device = "cpu";
  std::int64_t threads = 0;        // 0: as the coordinator's configuration says
  std::int64_t memory_budget = 0;  // bytes; 0: what the machine can give
  std::string id;                  // stable over restarts; unique among the workers of a search
};

/// Where the model called `name` lies: model_root/name, or model_root itself if that is its last component. Throws
/// InputError if `name` (a peer sent it) is not one plain path component, or nothing is there.
[[nodiscard]] std::filesystem::path find_model(const std::filesystem::path& model_root, const std::string& name);

/// Serves one coordinator until it dismisses or refuses the worker, or `stop` is set: then says that it leaves. The
/// scoring thread may be in the middle of a document and cannot be interrupted: the caller must end the process with
/// std::_Exit(status) after flushing.
[[nodiscard]] WorkerExit run_worker(const WorkerOptions& options, const std::atomic<bool>& stop);

}  // namespace longrope

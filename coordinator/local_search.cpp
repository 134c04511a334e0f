#include "coordinator/local_search.h"

#include "common/stop_signals.h"
#include "common/wire/zmq_transport.h"
#include "coordinator/prepare_search.h"
#include "coordinator/processes/local_workers.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>

namespace longrope {
namespace {

constexpr std::chrono::seconds kDrain{5};  // time that local workers get to say that they leave

std::int64_t default_workers(const Config& config) {
  const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  return std::max<std::int64_t>(1, cores / config.threads_per_worker);
}

}  // namespace

bool search_locally(const LocalSearch& search, Coordinator::Reports reports) {
  std::optional<LocalWorkers> workers;
  const std::function<void(const SearchProgress&)> show = std::move(reports.progress);
  reports.progress = [&](const SearchProgress& progress) {
    show(progress);
    if (workers) workers->supervise();
  };
  const std::function<void(const std::string&)> say = reports.warning;
  Coordinator coordinator(prepare_search(search.config, search.model), search.database, std::move(reports));
  if (coordinator.finished()) return true;
  stop_on_signals();
  ZmqServer transport("tcp://127.0.0.1:*");
  std::filesystem::path log = search.database;
  log += ".workers.log";
  workers.emplace(LocalWorkerOptions{transport.endpoint(), std::filesystem::absolute(search.config.model).parent_path(),
                                     search.workers.value_or(default_workers(search.config)), log, say});
  const bool finished = coordinator.serve(transport, stop_requested());
  if (!finished) workers->terminate();
  // A worker that says that it leaves releases its leases; otherwise they would only expire after the next start.
  const auto deadline = std::chrono::steady_clock::now() + kDrain;
  while (workers->any_running() && std::chrono::steady_clock::now() < deadline) {
    (void)coordinator.serve_once(transport, std::chrono::milliseconds(50));
  }
  return finished;
}

}  // namespace longrope

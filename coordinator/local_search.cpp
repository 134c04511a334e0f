#include "coordinator/local_search.h"

#include "common/error.h"
#include "common/stop_signals.h"
#include "common/wire/zmq_transport.h"
#include "config/device_names.h"
#include "coordinator/prepare_search.h"
#include "coordinator/processes/local_workers.h"
#include "coordinator/store/store_reader.h"

#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <optional>
#include <utility>

namespace longrope {
namespace {

constexpr std::chrono::seconds kDrain{5};  // time that local workers get to say that they leave

}  // namespace

void require_same_device_kind(const std::filesystem::path& database, std::string_view device) {
  for (const WorkerStatus& worker : StoreReader(database).workers()) {
    const std::string_view before = described_device_kind(worker.device);
    if (worker.results == 0 || before.empty() || before == device_kind(device)) continue;
    throw InputError(
        fmt::format("a search must go on with the kind of device that it began with, because results of CPUs and GPUs "
                    "differ in their last bits: began on {}, now {} (--device {} goes on; {})",
                    before, device, before, database.string()));
  }
}

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
  require_same_device_kind(search.database, search.workers.front());
  stop_on_signals();
  ZmqServer transport("tcp://127.0.0.1:*");
  std::filesystem::path log = search.database;
  log += ".workers.log";
  workers.emplace(LocalWorkerOptions{transport.endpoint(), std::filesystem::absolute(search.config.model).parent_path(),
                                     search.workers, log, say});
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

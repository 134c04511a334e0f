#include "cli/search_session.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "cli/local_workers.h"
#include "cli/stop_signals.h"
#include "common/zmq_transport.h"
#include "coordinator/prepare_search.h"

namespace longrope {
namespace {

constexpr std::chrono::seconds kDrain{5};  // for local workers to say that they leave

std::int64_t default_workers(const Config& config) {
  const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  return std::max<std::int64_t>(1, cores / config.threads_per_worker);
}

}  // namespace

SearchSession::SearchSession(const Config& given, std::filesystem::path database_file)
    : config(given),
      database(std::move(database_file)),
      coordinator(prepare_search(given), database,
                  {[this](const Progress& progress) {
                     display.show(progress);
                     if (each_round) each_round();
                   },
                   [this](const std::string& text) { display.say("longrope: " + text); }}) {}

bool SearchSession::serve_local_workers(std::optional<std::int64_t> workers_wanted) {
  if (coordinator.finished()) return true;
  stop_on_signals();
  ZmqServer transport("tcp://127.0.0.1:*");
  std::filesystem::path log = database;
  log += ".workers.log";
  LocalWorkers workers({transport.endpoint(), std::filesystem::absolute(config.model).parent_path(),
                        workers_wanted.value_or(default_workers(config)), log});
  each_round = [&] { workers.supervise(); };
  const bool finished = coordinator.serve(transport, stop_requested());
  each_round = nullptr;
  if (!finished) workers.terminate();
  // Their farewells release what they hold; without them the leases would only run out after the next start.
  const auto deadline = std::chrono::steady_clock::now() + kDrain;
  while (workers.any_running() && std::chrono::steady_clock::now() < deadline) {
    (void)coordinator.serve_once(transport, std::chrono::milliseconds(50));
  }
  display.finish();
  return finished;
}

}  // namespace longrope

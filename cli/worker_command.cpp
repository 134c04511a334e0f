#include "cli/command.h"
#include "common/stop_signals.h"
#include "common/wire/endpoint.h"
#include "worker/worker_loop.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>

namespace longrope {
namespace {

/// A name that no other worker on the network has, but that changes with each restart; --id gives a lasting one.
std::string default_id() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return std::string(host.data()) + "-" + std::to_string(getpid());
}

[[noreturn]] void work(WorkerOptions options) {
  options.endpoint = checked_endpoint(options.endpoint, EndpointUse::kConnect, "--connect");
  stop_on_signals();
  spdlog::set_default_logger(spdlog::stderr_color_mt(options.id));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S %n %l: %v");
  const WorkerExit result = run_worker(options, stop_requested());
  if (result.status == kExitSuccess) {
    spdlog::info("{}", result.reason);
  } else {
    spdlog::error("{}", result.reason);
  }
  spdlog::shutdown();
  std::_Exit(result.status);  // the scoring thread may be in the middle of a document
}

}  // namespace

void add_worker_command(CLI::App& app) {
  auto* command = app.add_subcommand("worker", "Score candidates for the coordinator of a search");
  auto options = std::make_shared<WorkerOptions>();
  options->id = default_id();
  command->add_option("--connect", options->endpoint, "Address of the coordinator, as in tcp://127.0.0.1:5555")
      ->required();
  command->add_option("--model-root", options->model_root, "Folder with the model directory of the search in it")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_option("--device", options->device, "cpu, cuda or cuda:N (CUDA has not been run on a GPU yet)")
      ->capture_default_str();
  command
      ->add_option("--threads", options->threads,
                   "CPU threads; the configuration of the search must say the same number [what it says]")
      ->check(CLI::Range(1, 4096));
  add_memory_budget(*command, options->memory_budget);
  command->add_option("--id", options->id,
                      "Name of this worker, which no other has and which it keeps after a restart [host-process]");
  command->footer(
      "The worker looks under --model-root for a directory with the name that the coordinator gives; its digest "
      "must be the same.\n"
      "It waits for its coordinator, says so when none answers, and goes on when that restarts. It exits 0 when the "
      "search is finished or on "
      "SIGTERM,\n"
      "2 when it cannot take part (another model, another number of threads).\n"
      "Example:\n  longrope worker --connect tcp://127.0.0.1:5555 --model-root models");
  command->callback([=] { work(*options); });
}

}  // namespace longrope

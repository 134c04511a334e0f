#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "cli/command.h"
#include "cli/local_workers.h"
#include "cli/progress_display.h"
#include "cli/stop_signals.h"
#include "common/error.h"
#include "common/zmq_transport.h"
#include "coordinator/coordinator.h"

namespace longrope {
namespace {

constexpr const char* kDefaultBind = "tcp://127.0.0.1:5555";
constexpr std::chrono::seconds kDrain{5};     // for local workers to say that they leave
constexpr std::chrono::seconds kFarewell{3};  // for other workers to hear that the search is finished

struct SearchArguments {
  std::string config;
  std::string database;
  std::optional<std::uint64_t> seed;
};

void add_search_arguments(CLI::App& command, SearchArguments& arguments) {
  command.add_option("CONFIG", arguments.config, "Configuration of the search (TOML)")->required();
  command.add_option("--db", arguments.database,
                     "Database; created, or continued [NAME.db of the configuration's name]");
  command.add_option("--seed", arguments.seed, "Replaces the configuration's seed");
}

/// Coordinator and display over one database.
struct Search {
  explicit Search(const SearchArguments& arguments) : Search(arguments, configured(arguments)) {}

  void report_end() {
    display.finish();
    std::cout << "search finished; the best factors: longrope best --db " << database.string() << std::endl;
  }

  static Config configured(const SearchArguments& arguments) {
    Config config = load_config(arguments.config);
    if (arguments.seed) config.seed = *arguments.seed;
    return config;
  }

  Search(const SearchArguments& arguments, const Config& given)
      : config(given),
        database(arguments.database.empty() ? given.name + ".db" : arguments.database),
        coordinator(prepare_search(given), database,
                    {[this](const Progress& progress) {
                       display.show(progress);
                       if (each_round) each_round();
                     },
                     [this](const std::string& text) { display.say("longrope: " + text); }}) {}

  Config config;
  std::filesystem::path database;
  ProgressDisplay display;
  std::function<void()> each_round;
  Coordinator coordinator;
};

std::int64_t default_workers(const Config& config) {
  const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  return std::max<std::int64_t>(1, cores / config.threads_per_worker);
}

void run(const SearchArguments& arguments, std::optional<std::int64_t> workers_wanted) {
  Search search(arguments);
  if (search.coordinator.finished()) {
    search.report_end();
    return;
  }
  stop_on_signals();
  ZmqServer transport("tcp://127.0.0.1:*");
  std::filesystem::path log = search.database;
  log += ".workers.log";
  LocalWorkers workers({transport.endpoint(), std::filesystem::absolute(search.config.model).parent_path(),
                        workers_wanted.value_or(default_workers(search.config)), log});
  search.each_round = [&] { workers.supervise(); };
  const bool finished = search.coordinator.serve(transport, stop_requested());
  search.each_round = nullptr;
  if (!finished) workers.terminate();
  // Their farewells release what they hold; without them the leases would only run out after the next start.
  const auto deadline = std::chrono::steady_clock::now() + kDrain;
  while (workers.any_running() && std::chrono::steady_clock::now() < deadline) {
    (void)search.coordinator.serve_once(transport, std::chrono::milliseconds(50));
  }
  if (finished) {
    search.report_end();
  } else {
    search.display.say("stopped; the same command continues");
  }
}

/// Workers that were away when the search finished still wait for a word: they are dismissed as they report back.
void dismiss_late_comers(Coordinator& coordinator, ServerTransport& transport) {
  const auto deadline = std::chrono::steady_clock::now() + kFarewell;
  while (!stop_requested() && std::chrono::steady_clock::now() < deadline) {
    (void)coordinator.serve_once(transport, std::chrono::milliseconds(50));
  }
}

void coordinate(const SearchArguments& arguments, const std::string& bind, bool insecure_network) {
  if (!is_loopback(bind) && !insecure_network) {
    throw InputError(
        "a bind that other machines reach needs --insecure-network, because nothing is encrypted or "
        "authenticated yet: " +
        bind);
  }
  Search search(arguments);
  stop_on_signals();
  ZmqServer transport(bind);
  if (!search.coordinator.finished()) search.display.say("serving workers at " + transport.endpoint());
  if (search.coordinator.serve(transport, stop_requested())) {
    dismiss_late_comers(search.coordinator, transport);
    search.report_end();
  } else {
    search.display.say("stopped; workers keep what they hold and wait for the same command");
  }
}

}  // namespace

void add_run_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("run", "Search on this machine: a coordinator and local workers in the foreground");
  auto arguments = std::make_shared<SearchArguments>();
  auto workers = std::make_shared<std::optional<std::int64_t>>();
  add_search_arguments(*command, *arguments);
  command->add_option("--workers", *workers, "Worker processes [cores / threads of the configuration]")
      ->check(CLI::Range(1, 1024));
  command->footer(
      "Ctrl-C and SIGTERM stop in seconds and lose nothing: the same command continues.\n"
      "Example:\n  longrope run configs/byte-llama-demo.toml --db demo.db --workers 2");
  command->callback([=] { run(*arguments, *workers); });
}

void add_coordinator_command(CLI::App& app) {
  auto* command = app.add_subcommand("coordinator", "Serve a search to workers on any machine");
  auto arguments = std::make_shared<SearchArguments>();
  auto bind = std::make_shared<std::string>(kDefaultBind);
  auto insecure_network = std::make_shared<bool>(false);
  add_search_arguments(*command, *arguments);
  command->add_option("--bind", *bind, "Endpoint to serve at")->capture_default_str();
  command->add_flag("--insecure-network", *insecure_network,
                    "Allow a bind that other machines reach: traffic is neither encrypted nor authenticated");
  command->footer(
      "Example (a trusted network):\n"
      "  longrope coordinator search.toml --db search.db --bind tcp://0.0.0.0:5555 --insecure-network\n"
      "  longrope worker --connect tcp://HOST:5555 --model-root /models       # on each machine");
  command->callback([=] { coordinate(*arguments, *bind, *insecure_network); });
}

}  // namespace longrope

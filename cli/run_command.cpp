#include "cli/command.h"
#include "cli/live_line.h"
#include "cli/model_argument.h"
#include "cli/plan_table.h"
#include "cli/progress_display.h"
#include "cli/search_estimate.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/machine_threads.h"
#include "common/stop_signals.h"
#include "common/wire/endpoint.h"
#include "common/wire/zmq_transport.h"
#include "config/device_names.h"
#include "coordinator/compute_devices.h"
#include "coordinator/coordinator.h"
#include "coordinator/local_search.h"
#include "coordinator/prepare_search.h"
#include "coordinator/processes/child_process.h"
#include "coordinator/processes/worker_program.h"
#include "coordinator/winner_file.h"
#include "evaluation/verdict_text.h"
#include "pipeline/pipeline_run.h"
#include "pipeline/published_gpus.h"
#include "report/search_verdict.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

constexpr const char* kDefaultBind = "tcp://127.0.0.1:5555";
constexpr const char* kAutomatic = "auto";
constexpr std::chrono::seconds kFarewell{3};  // time in which workers that come back are told that the search is over

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

Config configured(const SearchArguments& arguments) {
  Config config = load_config(arguments.config);
  if (arguments.seed) config.seed = *arguments.seed;
  return config;
}

std::filesystem::path database_of(const SearchArguments& arguments, const Config& config) {
  return arguments.database.empty() ? config.name + ".db" : arguments.database;
}

void say(const std::string& line) {
  std::cerr << time_stamp(read_clocks().unix_milliseconds) << ' ' << line << std::endl;
}

void report_end(const std::filesystem::path& database) {
  for (const Verdict& verdict : search_verdicts(StoreReader(database))) {
    for (const std::string& line : verdict_lines(verdict)) std::cout << printable_text(line) << "\n";
  }
  std::cout << "search finished; the best factors: longrope best --db " << database.string() << std::endl;
}

/// search_locally() with live progress. Each search has a display of its own, which shows its documents per second.
bool search_shown(const LocalSearch& search, RunOutline run) {
  ProgressDisplay display(std::move(run));
  const bool finished = search_locally(search, display.reports());
  display.finish();
  return finished;
}

/// The stages of a run that are not over, for the time that they will take. Only the display asks: what a plan refuses,
/// the stage itself refuses or does when its turn comes, and until then the time of the whole is not shown.
RunOutline outline_of(const Config& config, const std::set<std::string>& over) try {
  return outline_run(config, over);
} catch (const InputError&) {
  return {};
}

std::set<std::string> stages_that_are_over(const std::filesystem::path& pipeline) {
  std::set<std::string> over;
  for (const PipelineStageRecord& stage : read_pipeline_record(pipeline).stages) {
    if (is_over(stage)) over.insert(stage.name);
  }
  return over;
}

/// Where a run computes.
struct DeviceArguments {
  std::vector<std::string> devices;  // empty: what the configuration says
  std::string workers = kAutomatic;
};

void add_device_arguments(CLI::App& command, DeviceArguments& arguments) {
  command
      .add_option(
          "--device", arguments.devices,
          "Where to compute: auto (all GPUs, else the CPU), cpu, cuda or cuda:N; several, each with a worker and "
          "a process of a fine-tuning: cuda:0,cuda:1 [devices of the configuration, else auto]")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      .add_option("--workers", arguments.workers,
                  "Worker processes of a search, which take the devices in turn; auto: one for each device, or on the "
                  "CPU its cores divided by the configuration's threads")
      ->check(CLI::IsMember({kAutomatic}) | CLI::Range(1, 1024))
      ->capture_default_str();
}

/// Puts what `machine` has for "auto" into `config`.
ChosenDevices chosen_devices(const DeviceArguments& arguments, Config& config, const MachineDevices& machine) {
  DeviceRequest request{.devices = config.devices, .threads = config.threads_per_worker};
  if (!arguments.devices.empty()) request.devices = parse_devices(arguments.devices);
  if (arguments.workers != kAutomatic) request.workers = std::stoll(arguments.workers);
  ChosenDevices chosen = choose_devices(request, machine);
  config.devices = chosen.devices;
  return chosen;
}

/// What --dry-run is told of devices.
struct PlanArguments {
  double device_tflops = 0.0;         // 0: what is measured or published
  std::vector<std::int64_t> devices;  // empty: as many as the run would use
};

/// The speed and the memory of the devices that `chosen` names, all of one kind.
void describe_speed(const MachineDevices& machine, const ChosenDevices& chosen, PlanTableOptions& plan) {
  if (device_kind(chosen.devices.front()) == "cpu") {
    plan.device_name = "the CPU of this machine";
    plan.device_memory = machine.cpu_memory_bytes;
    plan.device_tflops = machine.cpu_tflops;
    plan.basis = fmt::format("a float32 product, measured just now on {} threads", machine_threads());
    return;
  }
  const Gpu& gpu = *std::ranges::find(machine.gpus, chosen.devices.front(), &Gpu::name);
  plan.devices = {static_cast<std::int64_t>(chosen.devices.size())};
  plan.device_name = fmt::format("{} ({})", fmt::join(chosen.devices, ", "), gpu.model);
  plan.on_gpu = true;
  plan.device_memory = gpu.memory_bytes;
  plan.basis = "no published figure is known";
  if (const PublishedGpu* const published = published_gpu(gpu.model)) {
    const double peak = plan.dtype == ComputeDtype::kBf16 ? published->bf16_tflops : published->fp32_tflops;
    plan.device_tflops = kSustainedShare * peak;
    plan.basis = fmt::format("{:.0f} % of the published peak, {} TFLOP/s", kSustainedShare * 100.0, peak);
  }
}

void print_plan(const SearchArguments& arguments, const DeviceArguments& places, const PlanArguments& given) {
  Config config = configured(arguments);
  PlanTableOptions plan{.dtype = config.dtype};
  try {
    const MachineDevices machine = machine_devices(/*measure_cpu=*/true);
    const std::vector<std::string> named = places.devices.empty() ? config.devices : parse_devices(places.devices);
    const auto is_here = [&](const std::string& device) {
      return device_kind(device) == "cpu" || std::ranges::find(machine.gpus, device, &Gpu::name) != machine.gpus.end();
    };
    if (std::ranges::all_of(named, is_here)) {
      describe_speed(machine, chosen_devices(places, config, machine), plan);
    } else {  // a plan for another machine
      plan.devices = {static_cast<std::int64_t>(named.size())};
      plan.device_name = fmt::format("{}", fmt::join(named, ", "));
      plan.basis = "this machine does not have them all";
    }
  } catch (const InputError&) {
    throw;
  } catch (const Error& error) {
    plan.basis = error.what();  // a build without a worker program plans too
    plan.device_name = "the devices of this machine";
  }
  if (given.device_tflops > 0.0) {
    plan.device_tflops = given.device_tflops;
    plan.basis = "--device-tflops";
  }
  if (!given.devices.empty()) plan.devices = given.devices;
  warn_about(planned_model(config).description);
  write_plan(plan_run(config), plan, std::cout);
}

void run(const SearchArguments& arguments, const DeviceArguments& places) {
  constexpr const char* kStopped = "stopped; the same command continues";
  Config config = configured(arguments);
  const std::filesystem::path database = database_of(arguments, config);
  // Refused before Torch is asked.
  const IdentifiedModel untouched = identify_model(config.model, config.reached_length);
  warn_about(untouched.description);
  const ChosenDevices devices = chosen_devices(places, config, machine_devices());
  const std::vector<std::string>& workers = devices.workers;
  say(devices.description);
  if (!devices.warning.empty()) say("warning: " + devices.warning);
  if (!config.is_pipeline()) {
    RunOutline outline = config.stages.size() > 1 ? outline_of(config, {}) : RunOutline{};
    const bool finished = search_shown({config, untouched, database, workers}, std::move(outline));
    return finished ? report_end(database) : say(kStopped);
  }
  const PipelineTools tools = {
      .search = [&](const Config& searched, const IdentifiedModel& model,
                    const std::filesystem::path& file) -> std::optional<FactorsFile> {
        RunOutline outline = outline_of(config, stages_that_are_over(database));
        if (!search_shown({searched, model, file, workers}, std::move(outline))) return std::nullopt;
        return winner_of_search(file, std::nullopt, model).file;
      },
      .verdict = [](const std::filesystem::path& file) { return search_verdict(StoreReader(file)); },
      .run_children = run_children,
      .worker_program = worker_program,
      .say = say};
  switch (run_pipeline(config, database, tools)) {
    case PipelineEnd::kWaiting:
      throw CLI::RuntimeError(kExitWaiting);
    case PipelineEnd::kStopped:
      return say(kStopped);
    case PipelineEnd::kFinished:
      std::cout << fmt::format("pipeline finished: longrope stage list --db {}", database.string()) << std::endl;
  }
}

/// Workers that could not be reached when the search finished still wait: they are dismissed as they report back.
void dismiss_late_comers(Coordinator& coordinator, ServerTransport& transport) {
  const auto deadline = std::chrono::steady_clock::now() + kFarewell;
  while (!stop_requested() && std::chrono::steady_clock::now() < deadline) {
    (void)coordinator.serve_once(transport, std::chrono::milliseconds(50));
  }
}

void coordinate(const SearchArguments& arguments, const std::string& endpoint, bool insecure_network) {
  const std::string bind = checked_endpoint(endpoint, EndpointUse::kBind, "--bind");
  if (!is_loopback(bind) && !insecure_network) {
    throw InputError(
        "--bind must be an endpoint of this machine alone unless --insecure-network is given, because nothing is "
        "encrypted or authenticated yet: " +
        bind);
  }
  const Config config = configured(arguments);
  if (config.is_pipeline()) {
    throw InputError("a pipeline must be run by longrope run, because longrope coordinator serves searches only: " +
                     arguments.config + " has other stages than searches");
  }
  const std::filesystem::path database = database_of(arguments, config);
  ProgressDisplay display;
  const IdentifiedModel model = identify_model(config.model, config.reached_length);
  warn_about(model.description);
  PreparedSearch prepared = prepare_search(config, model);
  stop_on_signals();
  ZmqServer transport(bind);  // before the database is made: an endpoint may be refused
  Coordinator coordinator(std::move(prepared), database, display.reports());
  display.hint_without_workers(
      fmt::format("no worker is connected; start one with: longrope worker --connect {} --model-root {}",
                  endpoint_for_workers(transport.endpoint()),
                  std::filesystem::absolute(config.model).lexically_normal().parent_path().string()));
  if (!coordinator.finished()) display.say("serving workers at " + transport.endpoint());
  if (coordinator.serve(transport, stop_requested())) {
    dismiss_late_comers(coordinator, transport);
    display.finish();
    report_end(database);
  } else {
    display.say("stopped; workers keep what they hold and wait for the same command");
  }
}

}  // namespace

void add_run_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("run", "Search on this machine, or carry a model through all stages of a pipeline");
  auto arguments = std::make_shared<SearchArguments>();
  auto places = std::make_shared<DeviceArguments>();
  auto dry = std::make_shared<bool>(false);
  auto plan = std::make_shared<PlanArguments>();
  add_search_arguments(*command, *arguments);
  auto* dry_run = command->add_flag("--dry-run", *dry,
                                    "Check the settings of searches and fine-tunings, print what all stages would "
                                    "cost, and do nothing else");
  command
      ->add_option("--device-tflops", plan->device_tflops,
                   "With --dry-run: TFLOP/s that one device sustains [measured on a CPU, published of a GPU]")
      ->needs(dry_run)
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--devices", plan->devices, "With --dry-run: numbers of devices to estimate for [those of the run]")
      ->needs(dry_run)
      ->delimiter(',')
      ->check(CLI::Range(1, 100000));
  add_device_arguments(*command, *places);
  command->footer(
      "Ctrl-C and SIGTERM stop in seconds and lose nothing: the same command continues.\n"
      "A configuration with other stages than searches is a pipeline (docs/pipeline.md), which ends with exit code 3\n"
      "when it waits for a fine-tuning by hand.\n"
      "Example:\n  longrope run configs/byte-llama-demo.toml --db demo.db --workers 2");
  command->callback([=] {
    if (*dry) {
      print_plan(*arguments, *places, *plan);
    } else {
      run(*arguments, *places);
    }
  });
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

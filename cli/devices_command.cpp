#include "cli/command.h"
#include "common/machine_threads.h"
#include "common/size_text.h"
#include "worker/scoring/device_inventory.h"
#include "worker/scoring/gpu_driver.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

/// What `longrope devices` has found.
struct FoundDevices {
  std::vector<DriverGpu> usable;    // cuda:0, cuda:1, …; without model and memory where the driver does not know them
  std::vector<DriverGpu> unusable;  // the driver knows them, and this program cannot use them
  std::string why_none;             // why `usable` is empty
};

FoundDevices find_devices() {
  UsableGpus usable = usable_gpus();
  std::vector<DriverGpu> known = gpus_of_driver();
  const auto count = static_cast<std::size_t>(usable.count);
  known.resize(std::max(known.size(), count));
  const auto end_of_usable = known.begin() + usable.count;
  return {{known.begin(), end_of_usable}, {end_of_usable, known.end()}, std::move(usable.why_none)};
}

void print_json(const FoundDevices& found, bool measure_cpu) {
  nlohmann::json json = {
      {"gpus", nlohmann::json::array()}, {"why_no_gpu", found.why_none}, {"unused_gpus", nlohmann::json::array()}};
  for (std::size_t i = 0; i < found.usable.size(); ++i) {
    const DriverGpu& gpu = found.usable[i];
    json["gpus"].push_back(
        {{"name", fmt::format("cuda:{}", i)}, {"model", gpu.model}, {"memory_bytes", gpu.memory_bytes}});
  }
  for (const DriverGpu& gpu : found.unusable) json["unused_gpus"].push_back(gpu.model);
  json["cpu_memory_bytes"] = std::int64_t{sysconf(_SC_PHYS_PAGES)} * std::int64_t{sysconf(_SC_PAGESIZE)};
  if (measure_cpu) json["cpu_tflops"] = measured_cpu_tflops(machine_threads());
  fmt::print("{}\n", json.dump());
}

void print_table(const FoundDevices& found) {
  fmt::print("cpu\n");
  for (std::size_t i = 0; i < found.usable.size(); ++i) {
    fmt::print("cuda:{}  {}  {}\n", i, found.usable[i].model, size_text(found.usable[i].memory_bytes));
  }
  if (found.usable.empty()) fmt::print("no GPU: {}\n", found.why_none);
  for (const DriverGpu& gpu : found.unusable) fmt::print("not usable: {}\n", gpu.model);
}

}  // namespace

void add_devices_command(CLI::App& app) {
  auto* command = app.add_subcommand("devices", "List the devices of this machine that can be computed on");
  auto json = std::make_shared<bool>(false);
  auto measure = std::make_shared<bool>(false);
  auto* as_json = command->add_flag("--json", *json,
                                    "One JSON object: gpus (name, model, memory_bytes), why_no_gpu, unused_gpus, "
                                    "cpu_memory_bytes");
  command->add_flag("--measure-cpu", *measure, "With --json: also cpu_tflops, of a float32 product of one second")
      ->needs(as_json);
  command->footer("Example:\n  longrope devices");
  command->callback([=] {
    const FoundDevices found = find_devices();
    if (*json) {
      print_json(found, *measure);
    } else {
      print_table(found);
    }
  });
}

}  // namespace longrope

#include "cli/command.h"
#include "common/machine_threads.h"
#include "worker/scoring/device_inventory.h"
#include "worker/scoring/gpu_driver.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace longrope {
namespace {

void print_json(const UsableGpus& usable, const std::vector<DriverGpu>& known, bool measure_cpu) {
  nlohmann::json json = {
      {"gpus", nlohmann::json::array()}, {"why_no_gpu", usable.why_none}, {"unused_gpus", nlohmann::json::array()}};
  for (std::int64_t i = 0; i < usable.count; ++i) {
    const auto index = static_cast<std::size_t>(i);
    const DriverGpu gpu = index < known.size() ? known[index] : DriverGpu{};
    json["gpus"].push_back(
        {{"name", fmt::format("cuda:{}", i)}, {"model", gpu.model}, {"memory_bytes", gpu.memory_bytes}});
  }
  for (std::size_t i = static_cast<std::size_t>(usable.count); i < known.size(); ++i) {
    json["unused_gpus"].push_back(known[i].model);
  }
  json["cpu_memory_bytes"] = std::int64_t{sysconf(_SC_PHYS_PAGES)} * std::int64_t{sysconf(_SC_PAGESIZE)};
  if (measure_cpu) json["cpu_tflops"] = measured_cpu_tflops(machine_threads());
  fmt::print("{}\n", json.dump());
}

void print_table(const UsableGpus& usable, const std::vector<DriverGpu>& known) {
  constexpr double kGibibyte = 1024.0 * 1024.0 * 1024.0;
  fmt::print("cpu\n");
  for (std::int64_t i = 0; i < usable.count; ++i) {
    const auto index = static_cast<std::size_t>(i);
    const DriverGpu gpu = index < known.size() ? known[index] : DriverGpu{};
    fmt::print("cuda:{}  {}  {:.1f} GiB\n", i, gpu.model, static_cast<double>(gpu.memory_bytes) / kGibibyte);
  }
  if (usable.count == 0) fmt::print("no GPU: {}\n", usable.why_none);
  for (std::size_t i = static_cast<std::size_t>(usable.count); i < known.size(); ++i) {
    fmt::print("not usable: {}\n", known[i].model);
  }
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
    const UsableGpus usable = usable_gpus();
    const std::vector<DriverGpu> known = gpus_of_driver();
    if (*json) {
      print_json(usable, known, *measure);
    } else {
      print_table(usable, known);
    }
  });
}

}  // namespace longrope

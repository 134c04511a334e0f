#include "coordinator/compute_devices.h"

#include "common/error.h"
#include "common/machine_threads.h"
#include "common/size_text.h"
#include "config/device_names.h"
#include "coordinator/processes/child_output.h"
#include "coordinator/processes/worker_program.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace longrope {
namespace {

constexpr const char* kCpu = "cpu";

std::string counted(std::int64_t number, std::string_view what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

std::string described(const Gpu& gpu) {
  if (gpu.model.empty()) return gpu.name;
  if (gpu.memory_bytes == 0) return fmt::format("{} ({})", gpu.name, gpu.model);
  return fmt::format("{} ({}, {})", gpu.name, gpu.model, size_text(gpu.memory_bytes));
}

const Gpu& gpu_named(const std::string& name, const MachineDevices& machine) {
  const auto found = std::ranges::find(machine.gpus, name, &Gpu::name);
  if (found != machine.gpus.end()) return *found;
  std::vector<std::string> names;
  for (const Gpu& gpu : machine.gpus) names.push_back(gpu.name);
  throw InputError(fmt::format(
      "a device must be one of this machine: {} ({})", name,
      names.empty() ? "no GPU found: " + machine.why_no_gpu : fmt::format("its GPUs are {}", fmt::join(names, ", "))));
}

std::vector<std::string> default_devices(const MachineDevices& machine) {
  std::vector<std::string> devices;
  for (const Gpu& gpu : machine.gpus) devices.push_back(gpu.name);
  if (devices.empty()) devices.emplace_back(kCpu);
  return devices;
}

std::int64_t default_workers(const DeviceRequest& request, const std::vector<std::string>& devices) {
  const bool whole_cpu = request.devices.empty() && devices.front() == kCpu;
  return whole_cpu ? std::max<std::int64_t>(1, machine_threads() / request.threads)
                   : static_cast<std::int64_t>(devices.size());
}

std::string description_of(const ChosenDevices& chosen, const DeviceRequest& request, const MachineDevices& machine) {
  const auto workers = static_cast<std::int64_t>(chosen.workers.size());
  if (chosen.devices.front() == kCpu) {
    return fmt::format("computing on the CPU with {} of {}{}", counted(workers, "worker"),
                       counted(request.threads, "thread"),
                       request.devices.empty()
                           ? fmt::format(": no GPU {} ({})", machine.unused_gpus.empty() ? "found" : "that can be used",
                                         machine.why_no_gpu)
                           : "");
  }
  std::vector<std::string> gpus;
  for (const std::string& device : chosen.devices) gpus.push_back(described(gpu_named(device, machine)));
  return fmt::format("computing on {}{}: {}", counted(static_cast<std::int64_t>(gpus.size()), "GPU"),
                     chosen.workers.size() == gpus.size() ? "" : " with " + counted(workers, "worker"),
                     fmt::join(gpus, ", "));
}

std::string warning_of(const ChosenDevices& chosen, const MachineDevices& machine) {
  if (machine.gpus.empty() && !machine.unused_gpus.empty()) {
    return fmt::format(
        "this machine has {} that {} not used ({}): {}", machine.unused_gpus.size() == 1 ? "a GPU" : "GPUs",
        machine.unused_gpus.size() == 1 ? "is" : "are", fmt::join(machine.unused_gpus, ", "), machine.why_no_gpu);
  }
  std::vector<std::string> unused;
  for (const Gpu& gpu : machine.gpus) {
    if (std::ranges::find(chosen.workers, gpu.name) == chosen.workers.end()) unused.push_back(described(gpu));
  }
  if (unused.empty()) return "";
  // A fine-tuning may use it.
  return fmt::format("{} there and not used by a worker: {}", unused.size() == 1 ? "a GPU is" : "GPUs are",
                     fmt::join(unused, ", "));
}

}  // namespace

MachineDevices parse_machine_devices(const std::string& json) {
  try {
    const nlohmann::json found = nlohmann::json::parse(json);
    MachineDevices machine;
    for (const nlohmann::json& gpu : found.at("gpus")) {
      machine.gpus.push_back({.name = gpu.at("name").get<std::string>(),
                              .model = printable_text(gpu.at("model").get<std::string>()),
                              .memory_bytes = gpu.at("memory_bytes").get<std::int64_t>()});
    }
    machine.why_no_gpu = printable_text(found.at("why_no_gpu").get<std::string>());
    for (const nlohmann::json& model : found.at("unused_gpus")) {
      machine.unused_gpus.push_back(printable_text(model.get<std::string>()));
    }
    machine.cpu_memory_bytes = found.value("cpu_memory_bytes", std::int64_t{0});
    machine.cpu_tflops = found.value("cpu_tflops", 0.0);
    return machine;
  } catch (const nlohmann::json::exception& error) {
    throw Error(fmt::format("cannot read the list of devices of longrope-worker: {}", error.what()));
  }
}

MachineDevices machine_devices(bool measure_cpu) {
  std::vector<std::string> command = {worker_program().string(), "devices", "--json"};
  if (measure_cpu) command.emplace_back("--measure-cpu");
  return parse_machine_devices(output_of(command));
}

ChosenDevices choose_devices(const DeviceRequest& request, const MachineDevices& machine) {
  ChosenDevices chosen{.devices = request.devices.empty() ? default_devices(machine) : request.devices};
  for (const std::string& device : chosen.devices) {
    if (device_kind(device) == "cuda") static_cast<void>(gpu_named(device, machine));
  }
  const std::int64_t workers = request.workers.value_or(default_workers(request, chosen.devices));
  for (std::int64_t i = 0; i < workers; ++i) {
    chosen.workers.push_back(chosen.devices[static_cast<std::size_t>(i) % chosen.devices.size()]);
  }
  chosen.description = description_of(chosen, request, machine);
  chosen.warning = warning_of(chosen, machine);
  return chosen;
}

}  // namespace longrope

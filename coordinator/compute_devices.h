#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// A GPU that workers can compute on.
struct Gpu {
  std::string name;               // "cuda:0"
  std::string model;              // "NVIDIA H200"; empty where the driver does not say
  std::int64_t memory_bytes = 0;  // of the device; 0 where the driver does not say
};

/// What a machine could compute on beside its CPU.
struct MachineDevices {
  std::vector<Gpu> gpus;
  /// Why `gpus` is empty: "this build has no CUDA". Empty when it is not.
  std::string why_no_gpu;
  /// Models of GPUs that the driver of this machine knows and the worker program cannot use.
  std::vector<std::string> unused_gpus;
  std::int64_t cpu_memory_bytes = 0;  // all memory of the machine; 0: not known
  double cpu_tflops = 0.0;            // that a float32 matrix product sustains on all its threads; 0: not measured
};

/// Asks the program longrope-worker, because only Torch knows what it can compute on: some seconds. Throws Error when
/// the program is missing or fails. With `measure_cpu` the CPU computes for a second to fill `cpu_tflops`.
[[nodiscard]] MachineDevices machine_devices(bool measure_cpu = false);
/// Reads what `longrope-worker devices --json` prints. Throws Error for anything else.
[[nodiscard]] MachineDevices parse_machine_devices(const std::string& json);

/// What a user asks to compute on.
struct DeviceRequest {
  /// As parse_devices() gives them. Default empty: all GPUs, else the CPU.
  std::vector<std::string> devices;
  /// Worker processes of a search. Default: one for each device; on the CPU of an empty `devices`, as many as have
  /// `threads` of its threads each. More than devices share them in turn.
  std::optional<std::int64_t> workers;
  /// CPU threads of each worker.
  std::int64_t threads = 1;
};

/// What a run computes on.
struct ChosenDevices {
  std::vector<std::string> devices;  // one process of a fine-tuning for each; evaluations take the first
  std::vector<std::string> workers;  // the device of each worker process of a search
  std::string description;           // "computing on 2 GPUs: cuda:0 (NVIDIA H200, 139.8 GiB), cuda:1 (…)"
  std::string warning;               // of a GPU that is there and not used; empty: none
};

/// Throws InputError for a GPU that the machine does not have.
[[nodiscard]] ChosenDevices choose_devices(const DeviceRequest& request, const MachineDevices& machine);

}  // namespace longrope

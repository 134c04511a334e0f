#include "worker/scoring/compute_device.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <torch/version.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "common/error.h"
#include "worker/model/cuda_placement.h"

#include <chrono>
#include <fstream>
#include <mutex>

namespace longrope {
namespace {

constexpr std::int64_t kMaxThreads = 1024;
constexpr std::int64_t kBytesPerKibibyte = 1024;  // /proc counts kibibytes
constexpr int kLargeBlock = 1 << 20;
constexpr int kNeverTrim = -1;     // mallopt(3)
constexpr char kForgetPeak = '5';  // proc_pid_clear_refs(5): VmHWM becomes what is resident now

at::Device parse_device(const std::string& text) {
  const auto refuse = [&] { throw InputError(fmt::format("device must be cpu, cuda or cuda:N: {}", text)); };
  at::Device device = at::kCPU;
  try {
    device = at::Device(text);
  } catch (const c10::Error&) {
    refuse();
  }
  if (!device.is_cpu() && !device.is_cuda()) refuse();
  if (device.is_cuda() && !c10::impl::hasDeviceGuardImpl(at::kCUDA)) {
    throw InputError(
        fmt::format("device must be one this Torch supports: {} (Torch {} without CUDA)", text, TORCH_VERSION));
  }
  if (device.is_cuda() && !at::hasCUDA()) {
    throw InputError(
        fmt::format("device must be one of this machine: {} (Torch {} finds no CUDA device)", text, TORCH_VERSION));
  }
  if (device.is_cuda() && device.has_index()) {
    const int count = c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount();
    if (device.index() >= count) {
      throw InputError(fmt::format("device must be one of the {} CUDA devices of this machine: {}", count, text));
    }
  }
  return device;
}

}  // namespace

Placement choose_placement(const ScorerOptions& options) {
  Placement placement;
  placement.device = parse_device(options.device);
  if (options.dtype == ComputeDtype::kFp32) return placement;
  placement.weights = at::kBFloat16;
  if (placement.device.is_cuda()) {
    placement.arithmetic = placement.products = at::kBFloat16;
  } else if (cpu_kernels(OperandType::kBfloat16Pair) != nullptr) {
    placement.products = at::kBFloat16;
  }  // else float32: without such instructions bfloat16 products run at an eighth of its speed
  return placement;
}

void set_threads(std::int64_t threads) {
  if (threads < 1 || threads > kMaxThreads) {
    throw InputError(fmt::format("threads must be from 1 to {}: {}", kMaxThreads, threads));
  }
  static std::once_flag once;  // Torch refuses a second call
  std::call_once(once, [] { at::set_num_interop_threads(1); });
  at::set_num_threads(static_cast<int>(threads));
}

std::int64_t peak_memory_bytes(at::Device device) {
  if (device.is_cuda()) {
    const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device_index(device));
    return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  }
  // Not getrusage: its maximum survives exec, so a small worker would report the size of whatever started it.
  std::ifstream status("/proc/self/status");
  std::string word;
  std::int64_t kibibytes = 0;
  while (status >> word) {
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes * kBytesPerKibibyte;
  }
  throw Error("cannot read the peak memory: no VmHWM in /proc/self/status");
}

void reset_peak_memory(at::Device device) {
  if (device.is_cuda()) {
    c10::getDeviceAllocator(device.type())->resetPeakStats(device_index(device));
    return;
  }
  std::ofstream("/proc/self/clear_refs") << kForgetPeak;
}

std::int64_t available_device_memory(at::Device device) {
  const auto [free, total] = c10::getDeviceAllocator(device.type())->getMemoryInfo(device_index(device));
  return static_cast<std::int64_t>(free) / 20 * 19;
}

void return_large_blocks() {
#ifdef __GLIBC__
  // glibc raises this limit to the largest block it has seen freed, and then keeps tensors' blocks in its heap, where
  // the next of the same size, being aligned, does not fit: tens of mebibytes that no estimate can count.
  ::mallopt(M_MMAP_THRESHOLD, kLargeBlock);
#endif
}

void keep_freed_blocks() {
#ifdef __GLIBC__
  // Not by the thresholds alone: that of mmap may not pass 32 MiB, which the activations of a batch do.
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, kNeverTrim);
#endif
}

double seconds_when_finished(at::Device device) {
  if (!device.is_cpu()) {
    c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device_index(device));
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string describe_placement(const Placement& placement, std::int64_t threads) {
  std::string name = placement.device.str();
  if (placement.device.is_cuda()) {
    name += fmt::format(" ({} rotary and log-sum-exp kernels)",
                        cuda_kernels_for(placement.device) != nullptr ? "own" : "Torch's");
  }
  if (placement.device.is_cpu()) {
    const auto capabilities = at::cpu::get_cpu_capabilities();
    const auto cpu_name = capabilities.find("cpu_name");
    const CpuKernels* const kernels = kernels_for(placement);
    name = fmt::format("{} {} ({} kernels, {} threads)", placement.device.str(),
                       cpu_name == capabilities.end() ? "" : cpu_name->second.toStringRef(),
                       kernels != nullptr ? fmt::format("own {}", kernels->instruction_set)
                                          : fmt::format("Torch's {}", at::get_cpu_capability()),
                       threads);
  }
  const std::string products =
      placement.products == placement.arithmetic ? "" : fmt::format(", {} products", c10::toString(placement.products));
  return fmt::format("Torch {}, {}, {} weights, {} arithmetic{}", TORCH_VERSION, name, c10::toString(placement.weights),
                     c10::toString(placement.arithmetic), products);
}

}  // namespace longrope

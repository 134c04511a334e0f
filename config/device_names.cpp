#include "config/device_names.h"

#include "common/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>

namespace longrope {
namespace {

constexpr std::string_view kGpu = "cuda:";
constexpr std::size_t kMaxDigits = 3;
constexpr std::size_t kMaxDevices = 1024;

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= kMaxDigits && text.find_first_not_of("0123456789") == std::string_view::npos &&
         (text.size() == 1 || text.front() != '0');
}

std::string canonical_name(const std::string& name) {
  if (name == "cuda") return "cuda:0";
  if (name == "cpu" || (name.starts_with(kGpu) && is_number(std::string_view(name).substr(kGpu.size())))) return name;
  throw InputError(fmt::format("a device must be cpu, cuda or cuda:N{}: {}",
                               name == "auto" ? " where several are named, or auto alone" : ", or auto alone",
                               printable_text(name)));
}

}  // namespace

std::vector<std::string> parse_devices(const std::vector<std::string>& names) {
  if (names == std::vector<std::string>{"auto"}) return {};
  if (names.empty()) throw InputError("devices must name one at least, or be auto: none");
  if (names.size() > kMaxDevices) {
    throw InputError(fmt::format("devices must be at most {}: {}", kMaxDevices, names.size()));
  }
  std::vector<std::string> devices;
  for (const std::string& name : names) {
    std::string device = canonical_name(name);
    if (device_kind(device) == "cuda" && std::ranges::find(devices, device) != devices.end()) {
      throw InputError(fmt::format("a GPU must be named once: {}", device));
    }
    devices.push_back(std::move(device));
  }
  if (!std::ranges::all_of(
          devices, [&](const std::string& device) { return device_kind(device) == device_kind(devices.front()); })) {
    throw InputError(fmt::format(
        "devices must be of one kind, because results of CPUs and GPUs differ in their last bits and one search must "
        "not mix them: {}",
        fmt::join(devices, ", ")));
  }
  return devices;
}

std::string_view device_kind(std::string_view device) { return device.substr(0, device.find(':')); }

std::string_view described_device_kind(std::string_view description) {
  for (const std::string_view kind : {"cuda", "cpu"}) {
    if (description.starts_with(kind) || description.find(fmt::format(", {}", kind)) != std::string_view::npos) {
      return kind;
    }
  }
  return "";
}

std::string_view described_arithmetic(std::string_view description) {
  const std::string_view kind = described_device_kind(description);
  const bool bfloat16 = description.find("BFloat16 products") != std::string_view::npos;
  return kind == "cpu" && bfloat16 ? "cpu with bfloat16 products" : kind;
}

}  // namespace longrope

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// Names of devices to compute on, as `devices` of a configuration and --device have them: "cpu" or "cuda:N", "cuda"
/// for "cuda:0"; "auto" alone gives an empty list, for devices that the machine chooses. "cpu" may stand several times,
/// for as many processes. Throws InputError for another name, for a GPU that is named twice, and for names of two
/// kinds: a score differs in its last bits between a CPU and a GPU, so that one search must keep to one kind.
[[nodiscard]] std::vector<std::string> parse_devices(const std::vector<std::string>& names);

/// "cpu" or "cuda", for a name that parse_devices() gave.
[[nodiscard]] std::string_view device_kind(std::string_view device);
/// The same of what a worker says about its device ("Torch 2.11.0, cuda:0 (own kernels …"); empty when it says neither.
[[nodiscard]] std::string_view described_device_kind(std::string_view description);
/// What one search must keep to, since a score has other bits elsewhere: the kind of device, and for CPUs that multiply
/// bfloat16 numbers "cpu with bfloat16 products"; empty when a description says none.
[[nodiscard]] std::string_view described_arithmetic(std::string_view description);

}  // namespace longrope

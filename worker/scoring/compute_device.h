#pragma once

#include "worker/model/placement.h"
#include "worker/scoring/perplexity_scorer.h"

#include <cstdint>
#include <string>

namespace longrope {

/// Device and dtypes for the options. Throws InputError for a device that this Torch does not have.
[[nodiscard]] Placement choose_placement(const ScorerOptions& options);
/// Sets Torch's threads for the whole process. Throws InputError outside [1, 1024].
void set_threads(std::int64_t threads);
/// Torch version, device, threads and dtypes, for people and the workers table.
[[nodiscard]] std::string describe_placement(const Placement& placement, std::int64_t threads);

/// Makes peak_memory_bytes() begin anew. Where the system offers no /proc/self/clear_refs, the host's peak stays that
/// of the whole process.
void reset_peak_memory(at::Device device);
/// Largest memory in bytes since reset_peak_memory: allocated on a CUDA device, else resident in this process.
[[nodiscard]] std::int64_t peak_memory_bytes(at::Device device);

/// Bytes that this process may still allocate on a CUDA device, less a twentieth for what Torch's allocator cannot use.
[[nodiscard]] std::int64_t available_device_memory(at::Device device);

/// From now on blocks of a mebibyte and more go back to the system as soon as they are freed, in the whole process.
void return_large_blocks();
/// The opposite, for work that allocates the same blocks again and again: freed memory stays with the process, so that
/// the system need not clear its pages anew. For good: return_large_blocks() does not undo it.
void keep_freed_blocks();

/// Waits until the device has finished its work, then gives seconds of a steady clock.
[[nodiscard]] double seconds_when_finished(at::Device device);

}  // namespace longrope

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

/// Begins a new maximum. A kernel that cannot forget the host's (no /proc/self/clear_refs) keeps that of the process.
void reset_peak_memory(at::Device device);
/// Largest memory in bytes since reset_peak_memory: allocated on a CUDA device, else resident in this process.
[[nodiscard]] std::int64_t peak_memory_bytes(at::Device device);

/// From now on blocks of a mebibyte and more go back to the system as soon as they are freed, in the whole process.
void return_large_blocks();
/// The contrary, for work that asks for the same blocks again and again: what is freed stays with the process, which
/// need not have its pages cleared anew. For good: return_large_blocks() does not undo it.
void keep_freed_blocks();

/// Seconds of a steady clock, once the device has finished what it was given.
[[nodiscard]] double seconds_when_finished(at::Device device);

}  // namespace longrope

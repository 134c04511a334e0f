#pragma once

#include "common/formats/factors_file.h"

#include <cstdint>
#include <optional>
#include <string>

namespace longrope {

// Which table of a factors file a sequence gets. The sequence's total length decides, prompt and generated tokens
// together, and the table then holds for the whole sequence: keys of two tables in one cache give garbage (spec §5.3,
// §9).

/// Throws InputError naming `place` for a schedule whose lengths do not ascend, or whose ids repeat or are not those of
/// entries. A file without a schedule is accepted.
void require_valid_schedule(const FactorsFile& file, const std::string& place);

/// The entry of `file` for sequences of `total_length` tokens. With a schedule it is that of the first step whose
/// max_length is at least `total_length`; without one it is the only entry, or the only one with that target length.
/// Throws InputError naming `place` for a length beyond the schedule, for several entries when no length is given, and
/// when none or several entries have the length.
[[nodiscard]] const FactorsFile::Entry& entry_for(const FactorsFile& file, std::optional<std::int64_t> total_length,
                                                  const std::string& place);

/// The entry that a step of the file's schedule names. Throws InputError when there is none.
[[nodiscard]] const FactorsFile::Entry& entry_of(const FactorsFile& file, const FactorsFile::ScheduleStep& step,
                                                 const std::string& place);

}  // namespace longrope

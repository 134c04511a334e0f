#pragma once

#include "common/formats/factors_file.h"

#include <cstdint>
#include <optional>
#include <string>

namespace longrope {

// Which table of a factors file a sequence gets. Its total length decides, prompt and what is generated together, and
// the table then holds for the whole sequence: keys of two tables in one cache give garbage (spec §5.3, §9).

/// Refuses a schedule whose lengths do not ascend, or whose ids are not those of entries, or repeat: InputError naming
/// `place`. No schedule is valid.
void require_valid_schedule(const FactorsFile& file, const std::string& place);

/// The entry of `file` for sequences of `total_length` tokens. With a schedule the first that reaches so far; without
/// one the only entry, or the only one with that target length. Throws InputError naming `place`: a length beyond the
/// schedule, several entries and no length, none or several entries for it.
[[nodiscard]] const FactorsFile::Entry& entry_for(const FactorsFile& file, std::optional<std::int64_t> total_length,
                                                  const std::string& place);

/// The entry that a step of the file's schedule names. Throws InputError when there is none.
[[nodiscard]] const FactorsFile::Entry& entry_of(const FactorsFile& file, const FactorsFile::ScheduleStep& step,
                                                 const std::string& place);

}  // namespace longrope

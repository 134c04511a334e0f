#include "common/formats/length_schedule.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

namespace longrope {

const FactorsFile::Entry& entry_of(const FactorsFile& file, const FactorsFile::ScheduleStep& step,
                                   const std::string& place) {
  const auto found = std::ranges::find(file.entries, step.factors_id, &FactorsFile::Entry::id);
  if (found == file.entries.end()) {
    throw InputError(fmt::format("factors_id of schedule must be the id of factors: \"{}\" for up to {} tokens ({})",
                                 step.factors_id, step.max_length, place));
  }
  return *found;
}

void require_valid_schedule(const FactorsFile& file, const std::string& place) {
  std::set<std::string_view> ids;
  std::int64_t previous = 0;
  for (const FactorsFile::ScheduleStep& step : file.schedule) {
    if (step.max_length <= previous) {
      throw InputError(
          fmt::format("max_len of schedule must ascend: {} after {} ({})", step.max_length, previous, place));
    }
    previous = step.max_length;
    static_cast<void>(entry_of(file, step, place));
    if (!ids.insert(step.factors_id).second) {
      throw InputError(fmt::format("factors_id of schedule must not repeat: \"{}\" for up to {} tokens ({})",
                                   step.factors_id, step.max_length, place));
    }
  }
}

const FactorsFile::Entry& entry_for(const FactorsFile& file, std::optional<std::int64_t> total_length,
                                    const std::string& place) {
  if (!file.schedule.empty() && total_length) {
    const auto step = std::ranges::find_if(
        file.schedule, [&](const FactorsFile::ScheduleStep& each) { return each.max_length >= *total_length; });
    if (step == file.schedule.end()) {
      throw InputError(fmt::format("length must be at most the last max_len of schedule, {}: {} ({})",
                                   file.schedule.back().max_length, *total_length, place));
    }
    return entry_of(file, *step, place);
  }
  if (file.entries.size() == 1) return file.entries.front();
  if (!total_length) {
    throw InputError(
        fmt::format("factors must hold one entry when no target length is given: {} ({})", file.entries.size(), place));
  }
  const auto count = std::ranges::count(file.entries, *total_length, &FactorsFile::Entry::target_length);
  if (count != 1) {
    throw InputError(
        fmt::format("factors must hold one entry for target length {}: {} ({})", *total_length, count, place));
  }
  return *std::ranges::find(file.entries, *total_length, &FactorsFile::Entry::target_length);
}

}  // namespace longrope

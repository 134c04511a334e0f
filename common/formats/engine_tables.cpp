#include "common/formats/engine_tables.h"

#include "common/error.h"
#include "common/formats/length_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace longrope {
namespace {

/// The step that becomes the short table, in a schedule of two steps or more.
const FactorsFile::ScheduleStep& short_step(const FactorsFile& file, std::int64_t original_length) {
  const auto found = std::ranges::find_if(
      file.schedule, [&](const FactorsFile::ScheduleStep& step) { return step.max_length >= original_length; });
  return std::min(found, file.schedule.end() - 2)[0];
}

}  // namespace

EngineTables engine_tables(const FactorsFile& file, std::int64_t original_length, const std::string& place) {
  if (file.schedule.empty()) {
    if (file.entries.size() != 1) {
      throw InputError(
          fmt::format("factors must hold one entry, or a schedule: {} without one ({})", file.entries.size(), place));
    }
    return {.factors = file.entries.front().factors,
            .target_length = file.entries.front().target_length,
            .short_table = std::nullopt};
  }
  const FactorsFile::ScheduleStep& last = file.schedule.back();
  EngineTables tables = {
      .factors = entry_of(file, last, place).factors, .target_length = last.max_length, .short_table = std::nullopt};
  if (file.schedule.size() > 1) {
    const FactorsFile::ScheduleStep& step = short_step(file, original_length);
    tables.short_table = {.factors = entry_of(file, step, place).factors, .max_length = step.max_length};
  }
  return tables;
}

std::optional<std::string> tables_left_out(const FactorsFile& file, std::int64_t original_length) {
  constexpr std::size_t kExpressible = 2;
  if (file.schedule.size() <= kExpressible) return std::nullopt;
  const FactorsFile::ScheduleStep& step = short_step(file, original_length);
  const FactorsFile::ScheduleStep& last = file.schedule.back();
  return fmt::format(
      "the schedule has {} tables and engines take two: \"{}\" is exported for up to {} tokens and \"{}\" for longer "
      "ones, up to {}; the other tables are left out",
      file.schedule.size(), step.factors_id, step.max_length, last.factors_id, last.max_length);
}

void require_expressible(const RescaleFactors& factors, const ModelDescription& model) {
  if (factors.n_hat > 0) {
    throw InputError(fmt::format(
        "n_hat must be 0, because no engine can keep the original angles of leading positions: {}; search with n_hat = "
        "0, or score these factors with n_hat = 0 before using them",
        factors.n_hat));
  }
  validate(factors, model.geometry.pairs(), "export");
}

void require_expressible(const EngineTables& tables, const ModelDescription& model) {
  require_expressible(tables.factors, model);
  const std::int64_t reached_length = model.scaling.reached_length;
  if (!tables.short_table) {
    if (tables.target_length > reached_length) return;
    throw InputError(fmt::format("target length must be above the {} tokens that the model reaches: {}", reached_length,
                                 tables.target_length));
  }
  constexpr std::int64_t kShortest = 2;  // engines divide by the logarithm of the original length
  const std::int64_t short_length = tables.short_table->max_length;
  require_expressible(tables.short_table->factors, model);
  if (short_length < kShortest) {
    throw InputError(fmt::format("length of the short table must be at least {}: {}", kShortest, short_length));
  }
  if (tables.target_length <= short_length) {
    throw InputError(fmt::format("target length must be above the {} tokens of the short table: {}", short_length,
                                 tables.target_length));
  }
  if (tables.target_length < reached_length) {
    throw InputError(fmt::format("target length must be at least the {} tokens that the model reaches: {}",
                                 reached_length, tables.target_length));
  }
}

void require_one_attention_factor(const EngineTables& tables) {
  constexpr double kTolerance = 1e-12;  // one number, computed in two ways, may differ by rounding
  if (!tables.short_table) return;
  const double wanted = tables.factors.attention.value;
  const double found = tables.short_table->factors.attention.value;
  if (std::abs(found - wanted) <= kTolerance) return;
  throw InputError(fmt::format(
      "attention factor of the short table must be the long one's, {}, because the format has one for both: "
      "{}; search the short table with attention_policies = [\"value\"] and attention_value = {}, search "
      "both tables with attention_policies = [\"none\"], or export for vLLM, which takes two",
      wanted, found, wanted));
}

}  // namespace longrope

#include "common/formats/model_factors.h"

#include "common/error.h"
#include "common/formats/length_schedule.h"
#include "common/formats/named_factors.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

namespace longrope {
namespace {

/// The short table of a file that has two, for a schedule with `long_entry`.
std::optional<FactorsFile::Entry> short_entry(const std::string& factors, bool keep_attention,
                                              const ModelDescription& model, const FactorsFile::Entry& long_entry) {
  if (is_closed_form(factors)) return std::nullopt;
  std::optional<ShortFactors> found = read_short_factors(factors);
  if (!found || found->max_length >= long_entry.target_length) return std::nullopt;
  if (!keep_attention) found->factors.attention = long_entry.factors.attention;
  if (found->factors == long_entry.factors) return std::nullopt;
  validate(found->factors, model.geometry.pairs(), factors);
  FactorsFile::Entry entry;
  entry.id = long_entry.id + "-short";
  entry.target_length = found->max_length;
  entry.factors = std::move(found->factors);
  return entry;
}

/// The step of a file's only table.
FactorsFile::ScheduleStep only_step(const FactorsFile& file) {
  if (!file.schedule.empty()) return file.schedule.front();
  return {.max_length = file.entries.front().target_length, .factors_id = file.entries.front().id};
}

}  // namespace

ModelFactors import_factors(const std::string& factors, const std::string& attention_factor,
                            const ModelDescription& model, std::int64_t length) {
  FactorsFile::Entry entry;
  entry.id = std::filesystem::path(factors).stem().string();
  entry.target_length = length;
  entry.factors = named_factors(factors, attention_factor, model, length);
  ModelFactors imported;
  FactorsFile& file = imported.file;
  file.model = factors_model(model, model_digest(model.directory));
  if (std::optional<FactorsFile::Entry> shorter = short_entry(factors, attention_factor.empty(), model, entry)) {
    file.schedule = {{.max_length = shorter->target_length, .factors_id = shorter->id},
                     {.max_length = entry.target_length, .factors_id = entry.id}};
    file.entries.push_back(*std::move(shorter));
  }
  file.entries.push_back(std::move(entry));
  const double ratio = static_cast<double>(length) / static_cast<double>(model.geometry.original_length);
  for (const FactorsFile::Entry& table : file.entries) {
    for (const std::string& sentence : unusual_properties(table.factors, 1.0 + ratio)) {
      imported.warnings.push_back(fmt::format("{} ({})", sentence, factors));
    }
  }
  return imported;
}

ModelFactors read_factors_for(const std::filesystem::path& path, const ModelDescription& model) {
  ModelFactors read{.file = read_factors_json(path), .warnings = {}};
  if (!read.file.model) {
    read.file.model = factors_model(model, "");
    return read;
  }
  const FactorsFile::Model& found_for = *read.file.model;
  const RotaryGeometry& geometry = found_for.geometry;
  if (geometry.rotary_dim != model.geometry.rotary_dim || geometry.rope_theta != model.geometry.rope_theta) {
    throw InputError(fmt::format("factors must be for rotary_dim {} and rope_theta {}, those of {}: {} and {} ({})",
                                 model.geometry.rotary_dim, model.geometry.rope_theta, model.name, geometry.rotary_dim,
                                 geometry.rope_theta, path.native()));
  }
  if (!found_for.sha256.empty() && found_for.sha256 != model_digest(model.directory)) {
    read.warnings.push_back(fmt::format("the factors were found for another checkpoint, {} (digest {}) ({})",
                                        found_for.id, found_for.sha256.substr(0, 12), path.native()));
  }
  return read;
}

void add_short_table(FactorsFile& file, FactorsFile recovered, const std::string& place) {
  if (recovered.entries.size() != 1 || file.entries.size() != 1) {
    throw InputError(fmt::format("a short table is joined to one other table: {} and {} ({})", recovered.entries.size(),
                                 file.entries.size(), place));
  }
  file.schedule = {only_step(recovered), only_step(file)};
  file.entries.insert(file.entries.begin(), std::move(recovered.entries.front()));
  require_valid_schedule(file, place);
}

}  // namespace longrope

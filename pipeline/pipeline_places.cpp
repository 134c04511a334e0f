#include "pipeline/pipeline_places.h"

#include "common/error.h"
#include "common/files/strict_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

namespace longrope {
namespace {

/// NAME.stages of NAME.db; another ending stays, so that a.1 and a.2 do not share one.
std::filesystem::path stages_folder(std::filesystem::path database) {
  if (database.extension() == ".db") database.replace_extension();
  return database += ".stages";
}

}  // namespace

bool is_over(const PipelineStageRecord& stage) {
  return stage.state == PipelineStageState::kFinished || stage.state == PipelineStageState::kSkipped;
}

bool searches(const PipelineStageRecord& stage) {
  return stage.kind == StageKind::kSearch || stage.kind == StageKind::kRecover;
}

PipelinePlaces::PipelinePlaces(const std::filesystem::path& database, std::filesystem::path untouched_model,
                               const std::vector<PipelineStageRecord>& stages)
    : base_(std::filesystem::absolute(database).parent_path()),
      folder_(stages_folder(std::filesystem::absolute(database))),
      untouched_model_(std::move(untouched_model)),
      stages_(stages) {}

std::filesystem::path PipelinePlaces::folder(std::string_view stage) const { return folder_ / stage; }
std::filesystem::path PipelinePlaces::search_database(std::string_view stage) const {
  return folder(stage) / "search.db";
}
std::filesystem::path PipelinePlaces::winner(std::string_view stage) const { return folder(stage) / "factors.json"; }
FactorsFile::Entry PipelinePlaces::winning_factors(std::string_view stage) const {
  return read_factors_json(winner(stage)).entries.front();
}
std::filesystem::path PipelinePlaces::output(const PipelineStageRecord& stage) const { return base_ / stage.output; }

std::optional<std::filesystem::path> PipelinePlaces::set_aside(std::string_view stage) const {
  const std::filesystem::path taken = folder(stage);
  if (!std::filesystem::exists(taken)) return std::nullopt;
  std::filesystem::path aside;
  for (int number = 1; aside.empty() || std::filesystem::exists(aside); ++number) {
    aside = folder(fmt::format("{}.{}", stage, number));
  }
  std::error_code error;
  std::filesystem::rename(taken, aside, error);
  if (error) throw Error(fmt::format("cannot keep {} as {}: {}", taken.string(), aside.string(), error.message()));
  return aside;
}

std::filesystem::path PipelinePlaces::recorded(const std::filesystem::path& output) const {
  const std::filesystem::path relative = std::filesystem::absolute(output).lexically_relative(base_);
  return relative.empty() || *relative.begin() == ".." ? std::filesystem::absolute(output) : relative;
}

std::filesystem::path PipelinePlaces::checkpoint(const std::string& finetune_stage) const {
  if (finetune_stage.empty()) return untouched_model_;
  const PipelineStageRecord& stage = stage_named(stages_, finetune_stage);
  if (stage.state == PipelineStageState::kSkipped) return checkpoint(stage.model);
  if (stage.state != PipelineStageState::kFinished) {
    throw InputError(
        fmt::format("a stage that others build on must be finished: {} is {}", stage.name, to_string(stage.state)));
  }
  return output(stage);
}

namespace {

/// Tokens that a search or recovery is for, from the settings that the database holds.
std::int64_t target_length(const PipelineStageRecord& search) {
  const std::string place = fmt::format("settings of stage {}", search.name);
  const nlohmann::json settings = parse_strict_json(search.settings, place);
  const auto found = settings.is_object() ? settings.find("target_length") : settings.end();
  if (found == settings.end() || !found->is_number_integer()) {
    throw InputError(fmt::format("target_length must be an integer ({})", place));
  }
  return found->get<std::int64_t>();
}

}  // namespace

std::filesystem::path longest_search_of(const std::filesystem::path& database,
                                        const std::optional<std::string>& stage) {
  if (stage || !is_pipeline(database)) return search_database_of(database, stage);
  const PipelineRecord pipeline = read_pipeline_record(database);
  const PipelinePlaces places(database, "", pipeline.stages);
  const PipelineStageRecord* longest = nullptr;
  for (const PipelineStageRecord& search : pipeline.stages) {
    if (!searches(search) || !std::filesystem::exists(places.search_database(search.name))) continue;
    if (longest == nullptr || target_length(search) >= target_length(*longest)) longest = &search;
  }
  return longest == nullptr ? search_database_of(database, stage) : places.search_database(longest->name);
}

std::filesystem::path search_database_of(const std::filesystem::path& database,
                                         const std::optional<std::string>& stage) {
  if (!is_pipeline(database)) return database;
  const PipelineRecord pipeline = read_pipeline_record(database);
  const PipelinePlaces places(database, "", pipeline.stages);
  if (stage) {
    const PipelineStageRecord& named = stage_named(pipeline.stages, *stage);
    if (!searches(named)) {
      throw InputError(fmt::format("a stage must be a search: {} is {}", *stage, to_string(named.kind)));
    }
    return places.search_database(named.name);
  }
  for (auto latest = pipeline.stages.rbegin(); latest != pipeline.stages.rend(); ++latest) {
    if (searches(*latest) && std::filesystem::exists(places.search_database(latest->name))) {
      return places.search_database(latest->name);
    }
  }
  throw InputError(fmt::format("no search of the pipeline has begun yet: {}", database.string()));
}

std::vector<std::filesystem::path> evaluations_of(const std::filesystem::path& output) {
  std::vector<std::filesystem::path> found;
  for (const char* const model : {kEvaluatedCheckpoint, kEvaluatedUntouched}) {
    const std::filesystem::path report = output / model / kEvaluationFile;
    if (std::filesystem::exists(report)) found.push_back(report);
  }
  return found;
}

}  // namespace longrope

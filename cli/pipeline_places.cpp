#include "cli/pipeline_places.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "common/error.h"
#include "common/model_description.h"

namespace longrope {
namespace {

std::filesystem::path stages_folder(const std::filesystem::path& database) {
  std::filesystem::path folder = database;
  return folder.replace_extension(".stages");
}

bool searches(const PipelineStageRecord& stage) {
  return stage.kind == StageKind::kSearch || stage.kind == StageKind::kRecover;
}

}  // namespace

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

FactorsFile PipelinePlaces::schedule(const PipelineStageRecord& stage) const {
  const ModelDescription model = describe_model(checkpoint(stage.model));
  FactorsFile file;
  file.model = factors_model(model, stage.inputs.at("model"));
  for (const PipelineStageRecord& recovery : stages_) {
    if (recovery.id >= stage.id || recovery.kind != StageKind::kRecover || recovery.model != stage.model ||
        recovery.state != PipelineStageState::kFinished) {
      continue;
    }
    file.entries.push_back(winning_factors(recovery.name));
  }
  const FactorsFile::Entry longest = winning_factors(stage.factors);
  if (model.scaling.scaled() && model.scaling.reached_length < longest.target_length) {
    FactorsFile::Entry own;
    own.id = model.name;
    own.target_length = model.scaling.reached_length;
    own.factors = model.scaling.beyond_original;
    file.entries.push_back(std::move(own));
  }
  file.entries.push_back(longest);
  std::ranges::sort(file.entries, {}, &FactorsFile::Entry::target_length);
  for (const FactorsFile::Entry& entry : file.entries) file.schedule.push_back({entry.target_length, entry.id});
  return file;
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

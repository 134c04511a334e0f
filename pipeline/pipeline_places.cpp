#include "pipeline/pipeline_places.h"

#include "common/error.h"
#include "common/model/model_description.h"

#include <fmt/format.h>

#include <iostream>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

namespace longrope {
namespace {

/// Of NAME.db it is NAME.stages; another ending stays, so that a.1 and a.2 do not share one.
std::filesystem::path stages_folder(std::filesystem::path database) {
  if (database.extension() == ".db") database.replace_extension();
  return database += ".stages";
}

}  // namespace

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

void PipelinePlaces::set_aside(std::string_view stage) const {
  const std::filesystem::path taken = folder(stage);
  if (!std::filesystem::exists(taken)) return;
  std::filesystem::path aside;
  for (int number = 1; aside.empty() || std::filesystem::exists(aside); ++number) {
    aside = folder(fmt::format("{}.{}", stage, number));
  }
  std::error_code error;
  std::filesystem::rename(taken, aside, error);
  if (error) throw Error(fmt::format("cannot keep {} as {}: {}", taken.string(), aside.string(), error.message()));
  std::cerr << "kept: " << aside.string() << '\n';
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

FactorsFile PipelinePlaces::schedule(const PipelineStageRecord& stage) const {
  const ModelDescription model = describe_model(checkpoint(stage.model));
  std::map<std::int64_t, FactorsFile::Entry> by_length;
  const auto add_own = [&](const char* ending, std::int64_t length, const RescaleFactors& factors) {
    FactorsFile::Entry own;
    own.id = model.name + ending;
    own.target_length = length;
    own.factors = factors;
    by_length.insert_or_assign(length, std::move(own));
  };
  const RopeScaling& scaling = model.scaling;
  if (scaling.up_to_original != scaling.beyond_original) {
    add_own("-short", model.geometry.original_length, scaling.up_to_original);
  }
  add_own("", scaling.reached_length, scaling.beyond_original);
  // What was searched comes before what the checkpoint has for that length.
  for (const PipelineStageRecord* const other : table_stages(stage)) {
    FactorsFile::Entry found = winning_factors(other->name);
    by_length.insert_or_assign(found.target_length, std::move(found));
  }
  FactorsFile::Entry longest = winning_factors(stage.factors);
  by_length.insert_or_assign(longest.target_length, std::move(longest));
  FactorsFile file;
  file.model = factors_model(model, stage.inputs.at("model"));
  for (auto& [length, entry] : by_length) {
    file.schedule.push_back({length, entry.id});
    file.entries.push_back(std::move(entry));
  }
  return file;
}

std::vector<const PipelineStageRecord*> PipelinePlaces::table_stages(const PipelineStageRecord& stage) const {
  const std::int64_t longest = winning_factors(stage.factors).target_length;
  std::vector<const PipelineStageRecord*> found;
  for (const PipelineStageRecord& other : stages_) {
    if (other.id >= stage.id || other.model != stage.model || other.state != PipelineStageState::kFinished) continue;
    if (other.kind == StageKind::kRecover ||
        (other.kind == StageKind::kSearch && winning_factors(other.name).target_length < longest)) {
      found.push_back(&other);
    }
  }
  return found;
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

#include "pipeline/length_tables.h"

#include <cstdint>
#include <map>
#include <utility>

namespace longrope {

std::vector<const PipelineStageRecord*> table_stages(const PipelineStageRecord& stage, const PipelinePlaces& places) {
  const std::int64_t longest = places.winning_factors(stage.factors).target_length;
  std::vector<const PipelineStageRecord*> found;
  for (const PipelineStageRecord& other : places.stages()) {
    if (other.id >= stage.id || other.model != stage.model || other.state != PipelineStageState::kFinished) continue;
    if (other.kind == StageKind::kRecover ||
        (other.kind == StageKind::kSearch && places.winning_factors(other.name).target_length < longest)) {
      found.push_back(&other);
    }
  }
  return found;
}

FactorsFile length_tables(const PipelineStageRecord& stage, const PipelinePlaces& places, Checkpoints& checkpoints) {
  const ModelDescription& model = checkpoints.description(places.checkpoint(stage.model));
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
  for (const PipelineStageRecord* const other : table_stages(stage, places)) {
    FactorsFile::Entry found = places.winning_factors(other->name);
    by_length.insert_or_assign(found.target_length, std::move(found));
  }
  FactorsFile::Entry longest = places.winning_factors(stage.factors);
  by_length.insert_or_assign(longest.target_length, std::move(longest));
  FactorsFile file;
  file.model = factors_model(model, stage.inputs.at("model"));
  for (auto& [length, entry] : by_length) {
    file.schedule.push_back({length, entry.id});
    file.entries.push_back(std::move(entry));
  }
  return file;
}

}  // namespace longrope

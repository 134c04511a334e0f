#include "pipeline/pipeline_edit.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/files/json_object.h"
#include "common/files/strict_json.h"
#include "coordinator/store/pipeline_store.h"
#include "pipeline/checkpoints.h"
#include "pipeline/hand_off.h"
#include "pipeline/pipeline_places.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

namespace longrope {
namespace {

/// The searches that a search begins with the winners of.
std::vector<std::string> seed_stages(const PipelineStageRecord& stage) {
  const nlohmann::json settings = parse_strict_json(stage.settings, "settings of stage " + stage.name);
  const JsonObject object(settings, stage.name);
  return object.has("seed_stages") ? object.texts("seed_stages") : std::vector<std::string>{};
}

/// `name` and every stage that takes, directly or not, what it gives.
std::set<std::string> with_dependents(const std::vector<PipelineStageRecord>& stages, const std::string& name) {
  std::set<std::string> found = {name};
  const auto is_found = [&](const std::string& other) { return found.contains(other); };
  for (const PipelineStageRecord& stage : stages) {  // what a stage takes comes before it
    // Tables go into all schedules after them.
    const bool scheduled =
        (stage.kind == StageKind::kEvaluate || stage.kind == StageKind::kExport) &&
        std::ranges::any_of(stages, [&](const PipelineStageRecord& other) {
          return searches(other) && other.id < stage.id && other.model == stage.model && found.contains(other.name);
        });
    if (is_found(stage.model) || is_found(stage.factors) || scheduled ||
        std::ranges::any_of(seed_stages(stage), is_found)) {
      found.insert(stage.name);
    }
  }
  return found;
}

}  // namespace

void retry_stage(const std::filesystem::path& database, const std::string& stage, const RetryReports& reports) {
  PipelineStore store(database);
  const PipelinePlaces places(database, "", store.stages());
  static_cast<void>(stage_named(store.stages(), stage));
  const std::set<std::string> again = with_dependents(store.stages(), stage);
  // Those that build on others first: whatever ends this, no stage counts as finished on what is made anew.
  std::vector<PipelineStageRecord> stages = store.stages();
  std::ranges::reverse(stages);
  for (const PipelineStageRecord& stored : stages) {
    if (!again.contains(stored.name) || stored.state == PipelineStageState::kPending) continue;
    // The row first: without it a stage that has lost its folder would count as finished.
    PipelineStageRecord record;
    record.id = stored.id;
    record.name = stored.name;
    record.kind = stored.kind;
    record.settings = stored.settings;
    record.model = stored.model;
    record.factors = stored.factors;
    store.write(record);
    if (const auto aside = places.set_aside(stored.name)) reports.kept(*aside);
    reports.pending(stored.name);
  }
}

std::filesystem::path complete_stage(const std::filesystem::path& database, const std::string& stage,
                                     const std::filesystem::path& checkpoint) {
  PipelineStore store(database);
  const PipelinePlaces places(database, "", store.stages());
  PipelineStageRecord record = stage_named(store.stages(), stage);
  if (record.state != PipelineStageState::kWaiting) {
    throw InputError(fmt::format("a stage that is completed by hand must be waiting: {} is {}", record.name,
                                 to_string(record.state)));
  }
  std::filesystem::path trained = std::filesystem::canonical(checkpoint);
  Checkpoints checkpoints;
  require_trained_from(places.hand_off(record.name), trained, checkpoints);
  record.state = PipelineStageState::kFinished;
  record.detail.clear();
  record.output = places.recorded(trained);
  record.output_digest = checkpoints.output_digest(trained);
  record.ended_at = read_clocks().unix_milliseconds;
  store.write(record);
  return trained;
}

void skip_stage(const std::filesystem::path& database, const std::string& stage) {
  PipelineStore store(database);
  PipelineStageRecord record = stage_named(store.stages(), stage);
  if (record.kind == StageKind::kSearch) {
    throw InputError(fmt::format("a search must not be skipped, other stages take its winner: {}", record.name));
  }
  if (record.state == PipelineStageState::kFinished) {
    throw InputError(fmt::format("a stage that is skipped must not be finished: {}", record.name));
  }
  record.state = PipelineStageState::kSkipped;
  record.detail.clear();
  store.write(record);
}

}  // namespace longrope

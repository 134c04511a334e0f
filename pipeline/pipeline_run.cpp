#include "pipeline/pipeline_run.h"

#include "common/clock.h"
#include "common/duration.h"
#include "common/error.h"
#include "common/software_version.h"
#include "common/stop_signals.h"
#include "coordinator/store/migrate_search.h"
#include "coordinator/store/pipeline_store.h"
#include "pipeline/checkpoints.h"
#include "pipeline/pipeline_places.h"
#include "pipeline/preflight.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

namespace longrope {
namespace {

/// Adds the time from its making to its end to a stage.
class ActiveTime {
 public:
  explicit ActiveTime(PipelineStageRecord& record) : record_(record), begun_(read_clocks().steady) {}
  ~ActiveTime() { record_.active_milliseconds += (read_clocks().steady - begun_).count(); }
  ActiveTime(const ActiveTime&) = delete;
  ActiveTime& operator=(const ActiveTime&) = delete;

 private:
  PipelineStageRecord& record_;
  std::chrono::milliseconds begun_;
};

/// Nothing has been touched when it is thrown.
class ChangedInputs : public InputError {
 public:
  using InputError::InputError;
};

using Digests = std::map<std::string, std::string>;

void require_same_inputs(const PipelineStageRecord& record, const Digests& inputs) {
  std::set<std::string> changed;
  for (const auto& [these, those] : {std::pair(&record.inputs, &inputs), std::pair(&inputs, &record.inputs)}) {
    for (const auto& [what, digest] : *these) {
      if (const auto found = those->find(what); found == those->end() || found->second != digest) changed.insert(what);
    }
  }
  if (changed.empty()) return;
  throw ChangedInputs(
      fmt::format("a stage that has begun must keep its inputs: {} of {} changed; longrope stage retry {} "
                  "begins it anew",
                  fmt::join(changed, ", "), record.name, record.name));
}

/// A finished stage was made from what lies there now, but for what has served and is gone.
void require_still_true(const StageDriver& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  const StageInputs taken = stage_inputs(stage, record, context.places);
  Digests inputs;
  for (const auto& [what, path] : taken.files()) {
    const auto recorded = record.inputs.find(what);
    const bool gone = recorded != record.inputs.end() && !std::filesystem::exists(path);
    inputs[what] = gone ? recorded->second : context.checkpoints.input_digest(path);
  }
  require_same_inputs(record, inputs);
}

void set_aside(const PipelineStageRecord& record, const PipelineContext& context) {
  if (const auto aside = context.places.set_aside(record.name)) context.tools.say("kept: " + aside->string());
}

/// What lies in a stage's folder was made by its row from the inputs that the row has, or it is put aside: it may be
/// another database's, or that of a retry that was killed.
void claim_folder(const PipelineStageRecord& record, const Digests& inputs, const PipelineContext& context) {
  // A row without inputs failed before it claimed anything.
  if (record.state == PipelineStageState::kPending || record.inputs.empty()) return set_aside(record, context);
  if (record.state == PipelineStageState::kFailed) {
    if (inputs != record.inputs) set_aside(record, context);
    return;
  }
  require_same_inputs(record, inputs);
}

StageWork work_on(const PipelineStage& configured, PipelineStageRecord& record, const PipelineContext& context,
                  PipelineStore& store) {
  const std::unique_ptr<StageDriver> stage = make_driver(configured);
  const StageInputs taken = stage_inputs(*stage, record, context.places);
  Digests inputs;
  for (const auto& [what, path] : taken.files()) {
    inputs[what] = context.checkpoints.input_digest(path);
  }
  claim_folder(record, inputs, context);
  record.inputs = std::move(inputs);
  record.state = PipelineStageState::kRunning;
  record.detail.clear();
  if (record.started_at == 0) record.started_at = read_clocks().unix_milliseconds;
  store.write(record);
  const ActiveTime timed(record);
  std::filesystem::create_directories(context.places.folder(record.name));
  return stage->work(record, context);
}

void finish(const StageWork& work, const PipelineContext& context, PipelineStageRecord& record, PipelineStore& store) {
  record.output = context.places.recorded(work.output);
  record.output_digest = context.checkpoints.output_digest(work.output);
  record.state = PipelineStageState::kFinished;
  record.ended_at = read_clocks().unix_milliseconds;
  store.write(record);
  context.tools.say(fmt::format("stage {} finished in {}: {}", record.name,
                                duration_text(static_cast<double>(record.active_milliseconds) / 1000.0),
                                record.output.string()));
}

/// The stages of the pipeline in `database` that are over, if it is there already.
StagesOver stages_over(const std::filesystem::path& database) {
  StagesOver over;
  if (!is_pipeline(database)) return over;
  const PipelineStore store(database);
  for (const PipelineStageRecord& stage : store.stages()) {
    if (stage.state == PipelineStageState::kFinished) over.finished.insert(stage.name);
    if (stage.state == PipelineStageState::kSkipped) over.skipped.insert(stage.name);
  }
  return over;
}

void require_all_still_true(const PipelineStore& store, const PipelineContext& context) {
  for (const PipelineStage& stage : context.config.stages) {
    const PipelineStageRecord& record = stage_named(store.stages(), stage.name);
    if (record.state == PipelineStageState::kFinished) require_still_true(*make_driver(stage), record, context);
  }
}

/// What an earlier release has searched is read again, for the verdict of an export and by other commands; no
/// coordinator migrates it any more.
void migrate_finished_searches(const PipelineStore& store, const PipelinePlaces& places) {
  for (const PipelineStageRecord& record : store.stages()) {
    if (record.state == PipelineStageState::kFinished && searches(record)) {
      migrate_search(places.search_database(record.name));
    }
  }
}

/// The rows with which a pipeline begins. Reads the model's weights for their digest.
PipelineRecord pipeline_record(const Config& config, Checkpoints& checkpoints) {
  PipelineRecord pipeline;
  pipeline.name = config.name;
  pipeline.config_file = config.file.string();
  pipeline.config_text = config.text;
  nlohmann::json settings = run_identity(config);
  settings["model"] = checkpoints.digest(config.model);
  pipeline.settings = settings.dump();
  pipeline.software_version = kSoftwareVersion;
  for (const PipelineStage& stage : config.stages) {
    PipelineStageRecord record;
    record.id = static_cast<std::int64_t>(pipeline.stages.size()) + 1;
    record.name = stage.name;
    record.kind = stage.kind;
    record.settings = stage_settings(stage).dump();
    record.model = stage.model;
    record.factors = stage.factors;
    pipeline.stages.push_back(std::move(record));
  }
  return pipeline;
}

}  // namespace

PipelineEnd run_pipeline(const Config& config, const std::filesystem::path& database, const PipelineTools& tools) {
  require_feasible(config, stages_over(database));
  Checkpoints checkpoints(config.model, config.reached_length);
  PipelineStore store(database, pipeline_record(config, checkpoints));
  const PipelinePlaces places(database, config.model, store.stages());
  const PipelineContext context{config, database, places, checkpoints, tools};
  require_all_still_true(store, context);
  migrate_finished_searches(store, places);
  stop_on_signals();  // until here there is nothing to save, so a signal ends the process at once
  for (const PipelineStage& stage : config.stages) {
    PipelineStageRecord record = stage_named(store.stages(), stage.name);
    if (is_over(record)) continue;
    tools.say(fmt::format("stage {} ({}), {} of {}", stage.name, to_string(stage.kind),
                          &stage - config.stages.data() + 1, config.stages.size()));
    StageWork work;
    try {
      work = work_on(stage, record, context, store);
    } catch (const ChangedInputs&) {
      throw;
    } catch (const Error& error) {
      record.state = PipelineStageState::kFailed;
      record.detail = error.what();
      store.write(record);
      throw;
    }
    if (work.end == WorkEnd::kDone) {
      finish(work, context, record, store);
      continue;
    }
    if (work.end == WorkEnd::kWaiting) record.state = PipelineStageState::kWaiting;
    record.detail = work.detail;
    store.write(record);
    if (!work.detail.empty()) tools.say(work.detail);
    return work.end == WorkEnd::kWaiting ? PipelineEnd::kWaiting : PipelineEnd::kStopped;
  }
  return PipelineEnd::kFinished;
}

}  // namespace longrope

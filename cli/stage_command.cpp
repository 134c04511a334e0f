#include "cli/command.h"
#include "cli/stage_table.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/files/json_object.h"
#include "common/files/strict_json.h"
#include "pipeline/hand_off.h"
#include "pipeline/pipeline_places.h"
#include "pipeline/stage_work.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace longrope {
namespace {

struct StageArguments {
  std::string name;
  std::string database;
  std::string checkpoint;
  bool json = false;
};

void list(const StageArguments& arguments) {
  const PipelineRecord pipeline = read_pipeline_record(arguments.database);
  if (arguments.json) {
    nlohmann::ordered_json stages = nlohmann::ordered_json::array();
    for (const PipelineStageRecord& stage : pipeline.stages) stages.push_back(stage_json(stage));
    std::cout << stages.dump(1) << std::endl;
  } else {
    write_stage_table(pipeline, std::cout);
  }
}

void show(const StageArguments& arguments) {
  const PipelineRecord pipeline = read_pipeline_record(arguments.database);
  std::cout << stage_json(stage_named(pipeline.stages, arguments.name)).dump(1) << std::endl;
}

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

void retry(const StageArguments& arguments) {
  PipelineStore store(arguments.database);
  const PipelinePlaces places(arguments.database, "", store.stages());
  static_cast<void>(stage_named(store.stages(), arguments.name));
  const std::set<std::string> again = with_dependents(store.stages(), arguments.name);
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
    places.set_aside(stored.name);
    fmt::print("{} is pending again\n", stored.name);
  }
}

void complete(const StageArguments& arguments) {
  PipelineStore store(arguments.database);
  const PipelinePlaces places(arguments.database, "", store.stages());
  PipelineStageRecord record = stage_named(store.stages(), arguments.name);
  if (record.state != PipelineStageState::kWaiting) {
    throw InputError(fmt::format("a stage that is completed by hand must be waiting: {} is {}", record.name,
                                 to_string(record.state)));
  }
  const std::filesystem::path checkpoint = std::filesystem::canonical(arguments.checkpoint);
  require_trained_from(places.folder(record.name) / "hand-off", checkpoint);
  record.state = PipelineStageState::kFinished;
  record.detail.clear();
  record.output = places.recorded(checkpoint);
  record.output_digest = output_digest(checkpoint);
  record.ended_at = read_clocks().unix_milliseconds;
  store.write(record);
  fmt::print("{} is finished; longrope run goes on with {}\n", record.name, checkpoint.string());
}

void skip(const StageArguments& arguments) {
  PipelineStore store(arguments.database);
  PipelineStageRecord record = stage_named(store.stages(), arguments.name);
  if (record.kind == StageKind::kSearch) {
    throw InputError(fmt::format("a search must not be skipped, other stages take its winner: {}", record.name));
  }
  if (record.state == PipelineStageState::kFinished) {
    throw InputError(fmt::format("a stage that is skipped must not be finished: {}", record.name));
  }
  record.state = PipelineStageState::kSkipped;
  record.detail.clear();
  store.write(record);
  fmt::print("{} is skipped\n", record.name);
}

CLI::App* add(CLI::App& stage, const char* name, const char* description,
              const std::shared_ptr<StageArguments>& arguments, bool named) {
  auto* command = stage.add_subcommand(name, description);
  if (named) command->add_option("STAGE", arguments->name, "Name of the stage")->required();
  command->add_option("--db", arguments->database, "Database of the pipeline")->required();
  return command;
}

}  // namespace

void add_stage_command(CLI::App& app) {
  auto* stage = app.add_subcommand("stage", "Look at the stages of a pipeline and decide about them");
  stage->require_subcommand(1);
  auto arguments = std::make_shared<StageArguments>();
  auto* lister = add(*stage, "list", "All stages, their states and outputs", arguments, false);
  lister->add_flag("--json", arguments->json, "JSON on standard output");
  lister->callback([=] { list(*arguments); });
  add(*stage, "show", "One stage with the digests of its inputs, as JSON", arguments, true)->callback([=] {
    show(*arguments);
  });
  add(*stage, "retry", "Do a stage, and all that depend on it, anew; what they gave is kept aside", arguments, true)
      ->callback([=] { retry(*arguments); });
  auto* completer =
      add(*stage, "complete", "Give a waiting fine-tuning its checkpoint, which is checked", arguments, true);
  completer->add_option("--checkpoint", arguments->checkpoint, "Hugging Face model directory")
      ->required()
      ->check(CLI::ExistingDirectory);
  completer->callback([=] { complete(*arguments); });
  add(*stage, "skip", "Go on without a stage; after a skipped fine-tuning with the model before it", arguments, true)
      ->callback([=] { skip(*arguments); });
  stage->footer(
      "The pipeline must not be running while a stage is changed.\n"
      "Example:\n  longrope stage list --db progressive.db\n"
      "  longrope stage complete tune-128k --db progressive.db --checkpoint /data/trained");
}

}  // namespace longrope

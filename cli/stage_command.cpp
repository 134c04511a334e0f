#include "cli/command.h"
#include "cli/stage_table.h"
#include "pipeline/pipeline_edit.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

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

void say(const std::string& line) { std::cout << line << std::endl; }

void retry(const StageArguments& arguments) {
  retry_stage(arguments.database, arguments.name,
              {.kept = [](const std::filesystem::path& folder) { std::cerr << "kept: " << folder.string() << '\n'; },
               .pending = [](const std::string& stage) { say(stage + " is pending again"); }});
}

void complete(const StageArguments& arguments) {
  const std::filesystem::path trained = complete_stage(arguments.database, arguments.name, arguments.checkpoint);
  say(fmt::format("{} is finished; longrope run goes on with {}", arguments.name, trained.string()));
}

void skip(const StageArguments& arguments) {
  skip_stage(arguments.database, arguments.name);
  say(arguments.name + " is skipped");
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

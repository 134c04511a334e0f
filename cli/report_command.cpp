#include "cli/command.h"
#include "common/files/write_file.h"
#include "pipeline/pipeline_places.h"
#include "report/html_report.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace longrope {
namespace {

struct ReportArguments {
  std::vector<std::string> databases;
  std::vector<std::string> evaluations;
  std::string title;
  std::string out;
};

ReportPipelineStage pipeline_stage(const PipelineStageRecord& stage, const PipelinePlaces& places) {
  ReportPipelineStage shown = {.name = stage.name,
                               .kind = std::string(to_string(stage.kind)),
                               .state = std::string(to_string(stage.state)),
                               .detail = stage.detail,
                               .started_at = stage.started_at,
                               .ended_at = stage.ended_at,
                               .active_milliseconds = stage.active_milliseconds,
                               .training_log = {}};
  if (stage.kind != StageKind::kFinetune || stage.state != PipelineStageState::kFinished) return shown;
  // Another trainer's checkpoint has no log of ours.
  const std::filesystem::path log = places.output(stage) / "training_log.jsonl";
  if (std::filesystem::exists(log)) shown.training_log = log;
  return shown;
}

/// Adds every search of the pipeline that has begun, and every evaluation that is finished.
void add_pipeline(const std::filesystem::path& database, ReportSources& sources) {
  const PipelineRecord pipeline = read_pipeline_record(database);
  const PipelinePlaces places(database, "", pipeline.stages);
  if (sources.title.empty()) sources.title = pipeline.name;
  for (const PipelineStageRecord& stage : pipeline.stages) {
    if (const std::filesystem::path search = places.search_database(stage.name); std::filesystem::exists(search)) {
      sources.searches.push_back({stage.name, search});
    }
    sources.pipeline.push_back(pipeline_stage(stage, places));
    if (stage.kind != StageKind::kEvaluate || stage.state != PipelineStageState::kFinished) continue;
    for (const std::filesystem::path& evaluation : evaluations_of(places.output(stage))) {
      sources.evaluations.push_back(evaluation);
    }
  }
}

void write_report(const ReportArguments& arguments) {
  ReportSources sources;
  sources.title = arguments.title;
  for (const std::string& database : arguments.databases) {
    if (is_pipeline(database)) {
      add_pipeline(database, sources);
    } else {
      sources.searches.push_back({"", database});
    }
  }
  sources.evaluations.insert(sources.evaluations.end(), arguments.evaluations.begin(), arguments.evaluations.end());
  write_file_atomically(arguments.out, html_report(sources));
  fmt::print("{}\n", arguments.out);
}

}  // namespace

void add_report_command(CLI::App& app) {
  auto arguments = std::make_shared<ReportArguments>();
  auto* command = app.add_subcommand("report", "Write tables and plots of searches and evaluations as one HTML file");
  command
      ->add_option("--db", arguments->databases,
                   "Database of a search or a pipeline, which may be running; may be given several times")
      ->required()
      ->allow_extra_args(false);
  command
      ->add_option("--evaluation", arguments->evaluations,
                   "JSON that longrope evaluate wrote (longrope-evaluation/1); may be given several times")
      ->allow_extra_args(false);
  command->add_option("--title", arguments->title, "Heading of the page [the names of the searches]");
  command->add_option("--out", arguments->out, "HTML file; an existing one is replaced")->required();
  command->footer("Example:\n  longrope report --db demo.db --evaluation demo.json --out demo.html");
  command->callback([=] { write_report(*arguments); });
}

}  // namespace longrope

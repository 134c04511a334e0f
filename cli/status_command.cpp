#include "cli/command.h"
#include "cli/stage_table.h"
#include "cli/status_report.h"
#include "common/error.h"
#include "coordinator/store/store_reader.h"
#include "pipeline/pipeline_places.h"

#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <optional>
#include <string>

namespace longrope {
namespace {

std::string rounded(const std::optional<double>& value) { return value ? fmt::format("{:.5f}", *value) : "-"; }

void print_json(const std::string& database, const StatusReport& report) {
  nlohmann::ordered_json json = status_json(report);
  if (is_pipeline(database)) {
    nlohmann::ordered_json& stages = json["pipeline"] = nlohmann::ordered_json::array();
    for (const PipelineStageRecord& stage : read_pipeline_record(database).stages) stages.push_back(stage_json(stage));
  }
  std::cout << json.dump(1) << std::endl;
}

void print_tables(const StatusReport& report) {
  const RunInfo& run = report.run;
  fmt::print("search {}  seed {}  model {} ({})  {}, {} angles, {} threads a worker\n\n", printable_text(run.name),
             run.seed, printable_text(run.model_name), printable_text(run.model_digest.substr(0, 12)),
             printable_text(run.dtype), printable_text(run.angles), run.threads_per_worker);
  fmt::print("{:<10} {:>9} {:<10} {:>11} {:>12} {:>8} {:>7} {:>7} {:>8}  {}\n", "stage", "tokens", "state",
             "told/budget", "perplexity", "passes", "pending", "leased", "active", "ended because");
  for (const StageProgress& stage : report.stages) {
    fmt::print("{:<10} {:>9} {:<10} {:>11} {:>12} {:>8} {:>7} {:>7} {:>7.0f}s  {}\n", printable_text(stage.name),
               stage.target_length, printable_text(stage.state),
               fmt::format("{}/{}", stage.told + stage.quarantined, stage.budget),
               rounded(stage.best_search_perplexity), fmt::format("{}", stage.document_passes),
               stage.evaluations_pending, stage.evaluations_leased, stage.active_seconds,
               printable_text(stage.end_reason.empty() ? "" : stage.end_reason + ": " + stage.end_detail));
  }
  if (const std::string line = pace_line(report); !line.empty()) fmt::print("\n{}\n", line);
  fmt::print("\n{:<10} {:>11} {:>8} {:>16}\n", "kind", "evaluations", "scored", "document passes");
  for (const KindCost& cost : report.costs) {
    fmt::print("{:<10} {:>11} {:>8} {:>16}\n", printable_text(cost.kind), cost.evaluations, cost.scored,
               cost.document_passes);
  }
  fmt::print("\n{:<24} {:<10} {:>7} {:>8} {:>9} {:>10}  {}\n", "worker", "state", "leases", "results", "failures",
             "seconds", "device");
  for (const WorkerStatus& worker : report.workers) {
    fmt::print("{:<24} {:<10} {:>7} {:>8} {:>9} {:>10.1f}  {}{}\n", printable_text(worker.id),
               printable_text(worker.state), worker.leases, worker.results, worker.failures, worker.seconds,
               printable_text(worker.device), printable_text(worker.detail.empty() ? "" : " (" + worker.detail + ")"));
  }
}

void show_status(const std::string& database, bool json) {
  if (!json && is_pipeline(database)) {  // also when no search has begun
    write_stage_table(read_pipeline_record(database), std::cout);
    std::cout << std::endl;
  }
  const StoreReader reader(search_database_of(database, std::nullopt));
  const StatusReport report{reader.run(), reader.progress(), reader.costs(), reader.workers()};
  if (json) {
    print_json(database, report);
  } else {
    print_tables(report);
  }
}

}  // namespace

void add_status_command(CLI::App& app) {
  auto* command = app.add_subcommand("status", "Show where a search or a pipeline stands: stages, cost, workers");
  auto database = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  add_search_database(*command, *database);
  command->add_flag("--json", *json, "Print JSON instead of tables");
  command->footer(
      "Cost is counted in document passes: one document scored once. Time left holds the held-out documents too and "
      "is\n"
      "an upper bound where a stop rule may end the search earlier.\n"
      "Example:\n  longrope status --db demo.db");
  command->callback([=] { show_status(*database, *json); });
}

}  // namespace longrope

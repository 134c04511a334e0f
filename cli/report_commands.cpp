#include "cli/command.h"
#include "cli/history_table.h"
#include "cli/stage_table.h"
#include "common/error.h"
#include "coordinator/store/store_reader.h"
#include "pipeline/pipeline_places.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace longrope {
namespace {

struct ReportArguments {
  std::string database;
  std::optional<std::string> stage;
  HistoryFormat format = HistoryFormat::kTable;
  bool no_timing = false;
  bool json = false;
};

CLI::App* add_report(CLI::App& app, const std::string& name, const std::string& description,
                     const std::shared_ptr<ReportArguments>& arguments) {
  auto* command = app.add_subcommand(name, description);
  command->add_option("--db", arguments->database, "Database of the search; may be in use")->required();
  return command;
}

std::string rounded(const std::optional<double>& value) { return value ? fmt::format("{:.5f}", *value) : "-"; }

void show_status(const ReportArguments& arguments) {
  if (is_pipeline(arguments.database)) {
    write_stage_table(read_pipeline_record(arguments.database), std::cout);
    std::cout << std::endl;
  }
  const StoreReader reader(search_database_of(arguments.database, arguments.stage));
  const RunInfo run = reader.run();
  fmt::print("search {}  seed {}  model {} ({})  {}, {} angles, {} threads a worker\n\n", printable_text(run.name),
             run.seed, printable_text(run.model_name), printable_text(run.model_digest.substr(0, 12)),
             printable_text(run.dtype), printable_text(run.angles), run.threads_per_worker);
  fmt::print("{:<10} {:>9} {:<10} {:>11} {:>12} {:>8} {:>7} {:>7} {:>8}  {}\n", "stage", "tokens", "state",
             "told/budget", "perplexity", "passes", "pending", "leased", "active", "ended because");
  for (const StageProgress& stage : reader.progress()) {
    fmt::print("{:<10} {:>9} {:<10} {:>11} {:>12} {:>8} {:>7} {:>7} {:>7.0f}s  {}\n", printable_text(stage.name),
               stage.target_length, printable_text(stage.state),
               fmt::format("{}/{}", stage.told + stage.quarantined, stage.budget),
               rounded(stage.best_search_perplexity), fmt::format("{}", stage.document_passes),
               stage.evaluations_pending, stage.evaluations_leased, stage.active_seconds,
               printable_text(stage.end_reason.empty() ? "" : stage.end_reason + ": " + stage.end_detail));
  }
  fmt::print("\n{:<10} {:>11} {:>8} {:>16}\n", "kind", "evaluations", "scored", "document passes");
  for (const KindCost& cost : reader.costs()) {
    fmt::print("{:<10} {:>11} {:>8} {:>16}\n", printable_text(cost.kind), cost.evaluations, cost.scored,
               cost.document_passes);
  }
  fmt::print("\n{:<24} {:<10} {:>7} {:>8} {:>9} {:>10}  {}\n", "worker", "state", "leases", "results", "failures",
             "seconds", "device");
  for (const WorkerStatus& worker : reader.workers()) {
    fmt::print("{:<24} {:<10} {:>7} {:>8} {:>9} {:>10.1f}  {}{}\n", printable_text(worker.id),
               printable_text(worker.state), worker.leases, worker.results, worker.failures, worker.seconds,
               printable_text(worker.device), printable_text(worker.detail.empty() ? "" : " (" + worker.detail + ")"));
  }
}

void show_history(const ReportArguments& arguments) {
  const StoreReader reader(search_database_of(arguments.database, arguments.stage));
  write_history(reader.history(arguments.stage), arguments.format, !arguments.no_timing, std::cout);
}

nlohmann::ordered_json or_null(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

void print_best_json(const BestFactors& best) {
  const nlohmann::ordered_json report = {{"stage", best.stage},
                                         {"target_length", best.target_length},
                                         {"final", best.final},
                                         {"candidate", best.index},
                                         {"origin", best.origin},
                                         {"lambda", best.factors.lambda},
                                         {"n_hat", best.factors.n_hat},
                                         {"attention_policy", to_string(best.factors.attention.policy)},
                                         {"attention_factor", best.factors.attention.value},
                                         {"factors_digest", best.factors_digest},
                                         {"search_perplexity", or_null(best.search_perplexity)},
                                         {"heldout_perplexity", or_null(best.heldout_perplexity)},
                                         {"heldout_documents", best.heldout_documents},
                                         {"heldout_perplexity_untouched", or_null(best.baselines.none)},
                                         {"heldout_perplexity_pi", or_null(best.baselines.pi)},
                                         {"heldout_perplexity_ntk", or_null(best.baselines.ntk)},
                                         {"heldout_perplexity_yarn", or_null(best.baselines.yarn)}};
  std::cout << report.dump(1) << std::endl;
}

void print_best_table(const BestFactors& best) {
  fmt::print("stage {}: candidate {} ({}){}\n", printable_text(best.stage), best.index, printable_text(best.origin),
             best.final ? "" : ", best so far: the stage has not chosen yet");
  fmt::print("attention factor {} ({}), n_hat {}, search perplexity {}\n", best.factors.attention.value,
             to_string(best.factors.attention.policy), best.factors.n_hat, rounded(best.search_perplexity));
  fmt::print("lambda {}\n", fmt::join(best.factors.lambda, " "));
  if (!best.final) return;
  fmt::print("\nheld-out perplexity at {} tokens, {} documents\n", best.target_length, best.heldout_documents);
  fmt::print("  {:<16} {:>12}\n", "untouched", rounded(best.baselines.none));
  fmt::print("  {:<16} {:>12}\n", "PI", rounded(best.baselines.pi));
  fmt::print("  {:<16} {:>12}\n", "NTK", rounded(best.baselines.ntk));
  fmt::print("  {:<16} {:>12}\n", "YaRN", rounded(best.baselines.yarn));
  fmt::print("  {:<16} {:>12}\n", "searched", rounded(best.heldout_perplexity));
}

void show_best(const ReportArguments& arguments) {
  const StoreReader reader(search_database_of(arguments.database, arguments.stage));
  const std::optional<BestFactors> best = reader.best(arguments.stage);
  if (!best) throw Error("no candidate has been told yet: " + arguments.database);
  if (arguments.json) {
    print_best_json(*best);
  } else {
    print_best_table(*best);
  }
}

}  // namespace

void add_status_command(CLI::App& app) {
  auto arguments = std::make_shared<ReportArguments>();
  auto* command = add_report(app, "status", "Where a search stands: stages, document passes, workers", arguments);
  command->footer("Example:\n  longrope status --db demo.db");
  command->callback([=] { show_status(*arguments); });
}

void add_history_command(CLI::App& app) {
  auto arguments = std::make_shared<ReportArguments>();
  auto* command = add_report(app, "history", "Every candidate that counted, in order", arguments);
  const std::map<std::string, HistoryFormat> formats = {
      {"table", HistoryFormat::kTable}, {"csv", HistoryFormat::kCsv}, {"json", HistoryFormat::kJson}};
  command->add_option("--format", arguments->format, "table, csv or json [table]")
      ->transform(CLI::CheckedTransformer(formats, CLI::ignore_case))
      ->default_str("table");
  command->add_flag("--no-timing", arguments->no_timing,
                    "Leave out seconds, workers and times: equal searches give equal bytes");
  command->add_option("--stage", arguments->stage, "One stage [all]");
  command->footer("Example:\n  longrope history --db demo.db --format csv --no-timing");
  command->callback([=] { show_history(*arguments); });
}

void add_best_command(CLI::App& app) {
  auto arguments = std::make_shared<ReportArguments>();
  auto* command = add_report(app, "best", "The best factors, beside the untouched model, PI, NTK and YaRN", arguments);
  command->add_flag("--json", arguments->json, "JSON on standard output");
  command->add_option("--stage", arguments->stage, "One stage [the last finished]");
  command->footer("Example:\n  longrope best --db demo.db --json");
  command->callback([=] { show_best(*arguments); });
}

}  // namespace longrope

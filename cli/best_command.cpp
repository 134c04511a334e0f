#include "cli/best_table.h"
#include "cli/command.h"
#include "common/error.h"
#include "coordinator/store/store_reader.h"
#include "pipeline/pipeline_places.h"
#include "report/search_verdict.h"

#include <iostream>
#include <memory>
#include <optional>
#include <string>

namespace longrope {
namespace {

struct BestArguments {
  std::string database;
  std::optional<std::string> stage;
  bool json = false;
};

void show_best(const BestArguments& arguments) {
  const StoreReader reader(longest_search_of(arguments.database, arguments.stage));
  const std::optional<BestFactors> best = reader.best(arguments.stage);
  if (!best) throw Error("no candidate has been scored yet: " + arguments.database);
  const std::optional<Verdict> verdict = best->final ? search_verdict(reader, best->stage) : std::nullopt;
  if (arguments.json) {
    std::cout << best_json(*best, verdict).dump(1) << std::endl;
  } else {
    write_best(*best, verdict, std::cout);
  }
}

}  // namespace

void add_best_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "best", "Print the best factors, beside the untouched model, PI, NTK and YaRN, and the verdict on them");
  auto arguments = std::make_shared<BestArguments>();
  add_search_database(*command, arguments->database);
  command->add_flag("--json", arguments->json, "Print JSON instead of a table");
  command->add_option(
      "--stage", arguments->stage,
      "The stage whose best factors are printed [of a pipeline the longest search; else the last finished]");
  command->footer("Example:\n  longrope best --db demo.db --json");
  command->callback([=] { show_best(*arguments); });
}

}  // namespace longrope

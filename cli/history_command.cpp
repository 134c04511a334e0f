#include "cli/command.h"
#include "cli/history_table.h"
#include "coordinator/store/store_reader.h"
#include "pipeline/pipeline_places.h"

#include <iostream>
#include <memory>
#include <optional>
#include <string>

namespace longrope {
namespace {

struct HistoryArguments {
  std::string database;
  std::optional<std::string> stage;
  std::string format = "table";
  bool no_timing = false;
};

HistoryFormat history_format(const std::string& name) {
  if (name == "csv") return HistoryFormat::kCsv;
  return name == "json" ? HistoryFormat::kJson : HistoryFormat::kTable;
}

void show_history(const HistoryArguments& arguments) {
  const StoreReader reader(search_database_of(arguments.database, arguments.stage));
  write_history(reader.history(arguments.stage), history_format(arguments.format), !arguments.no_timing, std::cout);
}

}  // namespace

void add_history_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "history", "List the scored candidates in the order they were proposed, with factors and perplexity");
  auto arguments = std::make_shared<HistoryArguments>();
  add_search_database(*command, arguments->database);
  command->add_option("--format", arguments->format, "How to print them [table]")
      ->transform(CLI::IsMember({"table", "csv", "json"}, CLI::ignore_case));
  command->add_flag("--no-timing", arguments->no_timing,
                    "Leave out seconds, workers and times, so that equal searches give equal bytes");
  command->add_option("--stage", arguments->stage, "Only the candidates of this stage [all]");
  command->footer("Example:\n  longrope history --db demo.db --format csv --no-timing");
  command->callback([=] { show_history(*arguments); });
}

}  // namespace longrope

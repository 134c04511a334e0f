#include "cli/command.h"
#include "cli/history_table.h"
#include "coordinator/store/store_reader.h"
#include "pipeline/pipeline_places.h"

#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace longrope {
namespace {

struct HistoryArguments {
  std::string database;
  std::optional<std::string> stage;
  HistoryFormat format = HistoryFormat::kTable;
  bool no_timing = false;
};

void show_history(const HistoryArguments& arguments) {
  const StoreReader reader(search_database_of(arguments.database, arguments.stage));
  write_history(reader.history(arguments.stage), arguments.format, !arguments.no_timing, std::cout);
}

}  // namespace

void add_history_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "history", "List the scored candidates in the order they were proposed, with factors and perplexity");
  auto arguments = std::make_shared<HistoryArguments>();
  add_search_database(*command, arguments->database);
  const std::map<std::string, HistoryFormat> formats = {
      {"table", HistoryFormat::kTable}, {"csv", HistoryFormat::kCsv}, {"json", HistoryFormat::kJson}};
  command->add_option("--format", arguments->format, "table, csv or json [table]")
      ->transform(CLI::CheckedTransformer(formats, CLI::ignore_case))
      ->default_str("table");
  command->add_flag("--no-timing", arguments->no_timing,
                    "Leave out seconds, workers and times, so that equal searches give equal bytes");
  command->add_option("--stage", arguments->stage, "Only the candidates of this stage [all]");
  command->footer("Example:\n  longrope history --db demo.db --format csv --no-timing");
  command->callback([=] { show_history(*arguments); });
}

}  // namespace longrope

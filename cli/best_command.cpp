#include "cli/command.h"
#include "common/error.h"
#include "coordinator/store/store_reader.h"
#include "pipeline/pipeline_places.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

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

std::string rounded(const std::optional<double>& value) { return value ? fmt::format("{:.5f}", *value) : "-"; }

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

void show_best(const BestArguments& arguments) {
  const StoreReader reader(search_database_of(arguments.database, arguments.stage));
  const std::optional<BestFactors> best = reader.best(arguments.stage);
  if (!best) throw Error("no candidate has been scored yet: " + arguments.database);
  if (arguments.json) {
    print_best_json(*best);
  } else {
    print_best_table(*best);
  }
}

}  // namespace

void add_best_command(CLI::App& app) {
  auto* command = app.add_subcommand("best", "Print the best factors, beside the untouched model, PI, NTK and YaRN");
  auto arguments = std::make_shared<BestArguments>();
  add_search_database(*command, arguments->database);
  command->add_flag("--json", arguments->json, "Print JSON instead of a table");
  command->add_option("--stage", arguments->stage, "The stage whose best factors are printed [the last finished]");
  command->footer("Example:\n  longrope best --db demo.db --json");
  command->callback([=] { show_best(*arguments); });
}

}  // namespace longrope

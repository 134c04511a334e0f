#include "cli/command.h"
#include "cli/model_argument.h"
#include "common/formats/named_factors.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace longrope {
namespace {

struct FactorsArguments {
  std::string model;
  std::optional<std::int64_t> reached_length;
  std::int64_t length = 0;
  std::string method = "yarn";
  std::string attention_factor;
  bool json = false;
};

void print_factors(const FactorsArguments& arguments) {
  const ModelDescription model = described_model(arguments.model, arguments.reached_length);
  const RescaleFactors factors = named_factors(arguments.method, arguments.attention_factor, model, arguments.length);
  if (arguments.json) {
    const nlohmann::ordered_json report = {{"lambda", factors.lambda},
                                           {"n_hat", factors.n_hat},
                                           {"attention_policy", to_string(factors.attention.policy)},
                                           {"attention_factor", factors.attention.value}};
    std::cout << report.dump(1) << std::endl;
    return;
  }
  const std::vector<double> frequencies = inverse_frequencies(model.geometry);
  fmt::print("{} for {} at {} tokens (original {}), attention factor {}\n", arguments.method, model.name,
             arguments.length, model.geometry.original_length, factors.attention.value);
  fmt::print("{:>5} {:>14} {:>16} {:>12}\n", "pair", "radians/token", "tokens/turn", "lambda");
  constexpr double kTurn = 6.283185307179586;
  for (std::size_t pair = 0; pair < factors.lambda.size(); ++pair) {
    fmt::print("{:>5} {:>14.6g} {:>16.1f} {:>12.6f}\n", pair, frequencies[pair], kTurn / frequencies[pair],
               factors.lambda[pair]);
  }
}

}  // namespace

void add_factors_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "factors", "Print the factors of a closed form (PI, NTK, YaRN, …) or a file, for a model and a length");
  auto arguments = std::make_shared<FactorsArguments>();
  add_model(*command, arguments->model);
  add_reached_length(*command, arguments->reached_length);
  in_tokens(command->add_option("--length", arguments->length, "Tokens to extend the model to, as in 8192 or 8k"))
      ->required();
  command->add_option("--method", arguments->method, kFactorsHelp)->capture_default_str();
  command->add_option("--attention-factor", arguments->attention_factor, kAttentionFactorHelp);
  command->add_flag("--json", arguments->json, "Print JSON instead of a table");
  command->footer("Example:\n  longrope factors --model models/byte-llama --length 4096 --method ntk");
  command->callback([=] { print_factors(*arguments); });
}

}  // namespace longrope

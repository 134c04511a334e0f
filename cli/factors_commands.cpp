#include "cli/command.h"
#include "common/error.h"
#include "common/formats/factors_file.h"
#include "common/formats/named_factors.h"
#include "common/model/model_description.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace longrope {
namespace {

struct ImportArguments {
  std::string file;
  std::string model;
  std::string out;
  std::string attention_factor;
  std::int64_t length = 0;
};

/// The short table of a file that has two, for a schedule with `long_entry`.
std::optional<FactorsFile::Entry> short_entry_of(const ImportArguments& arguments, const ModelDescription& model,
                                                 const FactorsFile::Entry& long_entry) {
  if (is_closed_form(arguments.file)) return std::nullopt;
  std::optional<ShortFactors> found = read_short_factors(arguments.file);
  if (!found || found->max_length >= long_entry.target_length) return std::nullopt;
  if (!arguments.attention_factor.empty()) found->factors.attention = long_entry.factors.attention;
  if (found->factors == long_entry.factors) return std::nullopt;
  validate(found->factors, model.geometry.pairs(), arguments.file);
  FactorsFile::Entry entry;
  entry.id = long_entry.id + "-short";
  entry.target_length = found->max_length;
  entry.factors = std::move(found->factors);
  return entry;
}

void import_factors(const ImportArguments& arguments) {
  const ModelDescription model = describe_model(arguments.model);
  FactorsFile::Entry entry;
  entry.id = std::filesystem::path(arguments.file).stem().string();
  entry.target_length = arguments.length;
  entry.factors = named_factors(arguments.file, arguments.attention_factor, model, arguments.length);
  FactorsFile file;
  file.model = factors_model(model, model_digest(arguments.model));
  if (std::optional<FactorsFile::Entry> short_entry = short_entry_of(arguments, model, entry)) {
    file.schedule = {{.max_length = short_entry->target_length, .factors_id = short_entry->id},
                     {.max_length = entry.target_length, .factors_id = entry.id}};
    file.entries.push_back(*std::move(short_entry));
  }
  file.entries.push_back(std::move(entry));
  const double ratio = static_cast<double>(arguments.length) / static_cast<double>(model.geometry.original_length);
  for (const FactorsFile::Entry& imported : file.entries) {
    for (const std::string& warning : unusual_properties(imported.factors, 1.0 + ratio)) {
      std::cerr << "longrope: warning: " << warning << " (" << arguments.file << ")\n";
    }
  }
  write_factors_json(file, arguments.out);
  fmt::print("{}\n", arguments.out);
}

struct FactorsArguments {
  std::string model;
  std::int64_t length = 0;
  std::string method = "yarn";
  std::string attention_factor;
  bool json = false;
};

void print_factors(const FactorsArguments& arguments) {
  const ModelDescription model = describe_model(arguments.model);
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

void add_import_command(CLI::App& app) {
  auto* command = app.add_subcommand("import", "Read factors from elsewhere, check them, write canonical JSON");
  auto arguments = std::make_shared<ImportArguments>();
  command
      ->add_option("FILE", arguments->file,
                   "Canonical JSON (its table for --length), the authors' CSV, a Hugging Face config.json, or "
                   "overrides of it for vLLM or axolotl (YAML)")
      ->required();
  command->add_option("--model", arguments->model, "Model the factors are for")->required();
  command->add_option("--length", arguments->length, "Target length of the factors, tokens")->required();
  command->add_option("--attention-factor", arguments->attention_factor, kAttentionFactorHelp);
  command->add_option("--out", arguments->out, "Canonical JSON to write")->required();
  command->footer(
      "A config.json or overrides with two tables give a schedule: the short one up to the original length.\n"
      "GGUF files: tools/import_gguf.py.\n"
      "Unusual factors (lambda below 1, not monotone, above 1 + ratio) are imported with a warning.\n"
      "Example:\n  longrope import ft_la2_256k.csv --model Llama-2-7b-hf --length 262144 --attention-factor su --out "
      "ft256k.json");
  command->callback([=] { import_factors(*arguments); });
}

void add_factors_command(CLI::App& app) {
  auto* command = app.add_subcommand("factors", "Print PI, NTK, YaRN … for a model and a length");
  auto arguments = std::make_shared<FactorsArguments>();
  command->add_option("--model", arguments->model, "Hugging Face model directory")->required();
  command->add_option("--length", arguments->length, "Target length, tokens")->required();
  command->add_option("--method", arguments->method, kFactorsHelp)->capture_default_str();
  command->add_option("--attention-factor", arguments->attention_factor, kAttentionFactorHelp);
  command->add_flag("--json", arguments->json, "JSON on standard output");
  command->footer("Example:\n  longrope factors --model models/byte-llama --length 4096 --method ntk");
  command->callback([=] { print_factors(*arguments); });
}

}  // namespace longrope

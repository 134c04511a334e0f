#include "cli/command.h"
#include "cli/model_argument.h"
#include "common/formats/model_factors.h"
#include "common/formats/named_factors.h"

#include <fmt/format.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

namespace longrope {
namespace {

struct ImportArguments {
  std::string file;
  std::string model;
  std::string out;
  std::string attention_factor;
  std::optional<std::int64_t> reached_length;
  std::int64_t length = 0;
};

void import_into_file(const ImportArguments& arguments) {
  const ModelFactors imported =
      import_factors(arguments.file, arguments.attention_factor,
                     described_model(arguments.model, arguments.reached_length), arguments.length);
  for (const std::string& warning : imported.warnings) std::cerr << "longrope: warning: " << warning << "\n";
  write_factors_json(imported.file, arguments.out);
  fmt::print("{}\n", arguments.out);
}

}  // namespace

void add_import_command(CLI::App& app) {
  auto* command = app.add_subcommand("import", "Read factors of another program, check them, and write canonical JSON");
  auto arguments = std::make_shared<ImportArguments>();
  command
      ->add_option(
          "FILE", arguments->file,
          "Factors: the authors' CSV, a Hugging Face config.json, overrides of it for vLLM or axolotl (YAML), or "
          "canonical JSON (its table for --length)")
      ->required();
  command->add_option("--model", arguments->model, "Hugging Face model directory that the factors are for")->required();
  add_reached_length(*command, arguments->reached_length);
  in_tokens(command->add_option("--length", arguments->length, "Tokens that the factors extend the model to"))
      ->required();
  command->add_option("--attention-factor", arguments->attention_factor, kAttentionFactorHelp);
  command->add_option("--out", arguments->out, "File to write, canonical JSON (longrope-factors/1)")->required();
  command->footer(
      "A config.json or overrides with two tables give both: the short one for texts up to the original length.\n"
      "GGUF files are read by tools/import_gguf.py.\n"
      "Unusual factors (lambda below 1, not monotone, above 1 + ratio) are imported with a warning.\n"
      "Example:\n  longrope import ft_la2_256k.csv --model Llama-2-7b-hf --length 262144 --attention-factor su --out "
      "ft256k.json");
  command->callback([=] { import_into_file(*arguments); });
}

}  // namespace longrope

#include "cli/command.h"
#include "cli/model_argument.h"
#include "common/error.h"
#include "common/files/write_file.h"
#include "common/formats/engine.h"
#include "common/formats/engine_config.h"
#include "common/formats/engine_support.h"
#include "common/formats/engine_tables.h"
#include "common/formats/factors_file.h"
#include "common/formats/hugging_face_export.h"
#include "common/formats/model_factors.h"
#include "common/sha256.h"
#include "coordinator/store/store_reader.h"
#include "coordinator/winner_file.h"
#include "evaluation/verdict_text.h"
#include "pipeline/pipeline_places.h"
#include "report/search_verdict.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace longrope {
namespace {

struct ExportArguments {
  std::string database;
  std::string factors;
  std::string short_factors;
  std::string model;
  std::optional<std::int64_t> reached_length;
  std::string format;
  std::string engine;
  std::string out;
  std::optional<std::string> target;
  std::string layers;
  std::optional<std::string> stage;
  bool force = false;
};

void warn(const std::string& message) { std::cerr << "longrope: warning: " << printable_text(message) << "\n"; }

/// How far the model reaches: what the search with `database` was told, or --reached-length.
std::optional<std::int64_t> reached_length(const ExportArguments& arguments, const std::filesystem::path& database) {
  if (database.empty()) return arguments.reached_length;
  const auto searched = StoreReader(database).run().reached_length;
  if (searched && arguments.reached_length.value_or(*searched) != *searched) {
    throw InputError(fmt::format("--reached-length must be that of the search, {}: {} ({})", *searched,
                                 *arguments.reached_length, arguments.database));
  }
  return searched ? searched : arguments.reached_length;
}

/// The best factors of the search with `database`.
FactorsFile best_factors(const ExportArguments& arguments, const std::filesystem::path& database,
                         const ModelDescription& model) {
  Winner winner = winner_of_search(database, arguments.stage, {model, sha256_of_file});
  if (!winner.best.final) {
    std::cerr << "longrope: the stage has not chosen yet; exporting the best so far\n";
  } else if (const auto verdict = search_verdict(StoreReader(database), winner.best.stage)) {
    require_worth_exporting(*verdict,
                            {.forced = arguments.force,
                             .rule = "factors must not be worse than the untouched model, unless --force is given",
                             .forced_by = "--force",
                             .place = fmt::format(" (stage {}, {})", verdict->stage, arguments.database)},
                            warn);
  } else {
    warn(fmt::format("stage {} has not judged its winner yet; exporting it without a verdict", winner.best.stage));
  }
  return std::move(winner.file);
}

FactorsFile read_factors_with_warnings(const std::string& path, const ModelDescription& model) {
  ModelFactors read = read_factors_for(path, model);
  for (const std::string& warning : read.warnings) warn(warning);
  return std::move(read.file);
}

/// How many rows of equal factors --layers asks for in the CSV; nullopt: one factor per line.
std::optional<std::int64_t> csv_rows(const std::string& layers, const ModelDescription& model) {
  if (layers.empty()) return std::nullopt;
  if (layers == "model") return model.layers;
  std::int64_t rows = 0;
  const auto [end, error] = std::from_chars(layers.data(), layers.data() + layers.size(), rows);
  if (error != std::errc() || end != layers.data() + layers.size()) {
    throw InputError(fmt::format("--layers must be a number, or model: {}", layers));
  }
  return rows;
}

/// The transformers that reads what is written.
HuggingFaceTarget target_of(const ExportArguments& arguments) {
  if (arguments.engine != to_string(Engine::kMlx)) return parse_hugging_face_target(arguments.target.value_or("hf5"));
  // mlx_lm/models: llama, qwen2, qwen3 and phi3 read rope_scaling and rope_theta, and no rope_parameters.
  const std::string target = arguments.target.value_or("hf4");
  if (target != "hf4") {
    throw InputError(fmt::format("--target must be hf4 for --engine mlx, which reads no rope_parameters: {}", target));
  }
  return HuggingFaceTarget::k4;
}

/// Writes the form that --engine takes.
void export_for_engine(const ExportArguments& arguments, const ModelDescription& model, EngineTables tables,
                       const std::string& place) {
  const Engine engine = parse_engine(arguments.engine);
  const HuggingFaceTarget target = target_of(arguments);
  const EngineForm form = form_for_engine(engine, model, std::move(tables), place);
  if (engine == Engine::kVllm) {
    write_file_atomically(arguments.out, vllm_config(model, form.tables, target));
  } else {
    export_hugging_face(model, form.tables, arguments.out, target);
  }
  for (const std::string& remark : form.remarks) std::cerr << "longrope: " << printable_text(remark) << "\n";
  if (engine == Engine::kLlamaCpp) {
    std::cerr << "longrope: llama.cpp loads GGUF files: tools/export_gguf.py "
              << printable_text((std::filesystem::path(arguments.out) / "config.json").native())
              << " --base MODEL.gguf --out MODEL-LONG.gguf\n";
  }
  fmt::print("{}\n", arguments.out);
}

void export_factors(const ExportArguments& arguments) {
  if (arguments.format.empty() == arguments.engine.empty()) {
    throw InputError("the form must be given by --engine, which chooses it, or by --format, one of them");
  }
  if (arguments.database.empty() == arguments.factors.empty()) {
    throw InputError("factors must come from --db or from --factors, one of them");
  }
  if (!arguments.layers.empty() && arguments.format != "csv") {
    throw InputError(fmt::format("--layers belongs to --format csv: {}",
                                 arguments.format.empty() ? "--engine " + arguments.engine : arguments.format));
  }
  const std::filesystem::path database =
      arguments.database.empty() ? "" : longest_search_of(arguments.database, arguments.stage);
  const ModelDescription model = described_model(arguments.model, reached_length(arguments, database));
  FactorsFile file = database.empty() ? read_factors_with_warnings(arguments.factors, model)
                                      : best_factors(arguments, database, model);
  if (!arguments.short_factors.empty()) {
    add_short_table(file, read_factors_with_warnings(arguments.short_factors, model),
                    "--short-factors " + arguments.short_factors);
  }
  if (arguments.format == "json") {
    write_factors_json(file, arguments.out);
    fmt::print("{}\n", arguments.out);
    return;
  }
  const std::int64_t original_length = model.geometry.original_length;
  const std::string& place = arguments.factors.empty() ? arguments.database : arguments.factors;
  const EngineTables tables = engine_tables(file, original_length, place);
  if (arguments.format == "csv") {
    if (tables.short_table) {
      warn(fmt::format("CSV holds one table; the one for {} tokens is written", tables.target_length));
    }
    write_factors_csv(tables.factors, arguments.out, csv_rows(arguments.layers, model));
    fmt::print("{}\n", arguments.out);
    return;
  }
  if (const auto sentence = tables_left_out(file, original_length)) warn(*sentence);
  if (!arguments.engine.empty()) return export_for_engine(arguments, model, tables, place);
  const HuggingFaceTarget target = target_of(arguments);
  if (arguments.format == "vllm") {
    write_file_atomically(arguments.out, vllm_config(model, tables, target));
  } else if (arguments.format == "axolotl") {
    write_file_atomically(arguments.out, axolotl_config(model, tables, target));
  } else {
    export_hugging_face(model, tables, arguments.out, target);
  }
  fmt::print("{}\n", arguments.out);
}

}  // namespace

void add_export_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "export", "Write the best factors of a search, or those of a file, in a form that other programs load");
  auto arguments = std::make_shared<ExportArguments>();
  auto* database = command->add_option("--db", arguments->database,
                                       "Database of the search or pipeline whose best factors are written");
  command->add_option("--factors", arguments->factors,
                      "Write the factors of this file instead: canonical JSON, with one table or several by length");
  command->add_option(
      "--short-factors", arguments->short_factors,
      "Canonical JSON with a second table, used for texts up to its target_len (short-context recovery)");
  add_model(*command, arguments->model, "Hugging Face directory of the model that the factors are for");
  add_reached_length(*command, arguments->reached_length);
  command
      ->add_option(
          "--format", arguments->format,
          "hf: a Hugging Face model directory; json: canonical factors; csv: factors as the authors' code reads "
          "them; vllm: a file for vllm serve --config; axolotl: keys for its configuration; hf, vllm and axolotl "
          "always hold one factor for each pair")
      ->check(CLI::IsMember({"hf", "csv", "json", "vllm", "axolotl"}));
  command
      ->add_option(
          "--engine", arguments->engine,
          "In place of --format: transformers, vllm, sglang, llama.cpp or mlx. Writes the form that this engine takes "
          "for the model: a plain block (linear, yarn, llama3, rope_theta) where it gives the factors within 1e-6, "
          "else "
          "one factor for each pair, or refuses with the reason")
      ->check(CLI::IsMember({"transformers", "vllm", "sglang", "llama.cpp", "mlx"}));
  command
      ->add_option("--out", arguments->out, "File to write; for hf, and every engine but vllm, a new model directory")
      ->required();
  command
      ->add_option("--target", arguments->target,
                   "Version of transformers that will read hf, vllm, axolotl or an engine's form: hf5 or hf4 [hf5; "
                   "mlx: hf4]")
      ->check(CLI::IsMember({"hf4", "hf5"}));
  command->add_option(
      "--layers", arguments->layers,
      "For csv: write this many equal rows, one for each layer, or \"model\" for as many as the model has layers "
      "[one factor per line]");
  command->add_option(
      "--stage", arguments->stage,
      "The stage whose best factors are written [of a pipeline the longest search; else the last finished]");
  command->add_flag("--force", arguments->force, "Write them even if they are worse than the untouched model")
      ->needs(database);
  command->footer(
      "Examples:\n  longrope export --db demo.db --model models/byte-llama --format hf --out byte-llama-4096\n"
      "  longrope export --db demo.db --model models/byte-llama --engine vllm --out vllm.yaml\n"
      "  longrope export --db demo.db --model models/byte-llama --short-factors recovered.json --format json --out "
      "both.json");
  command->callback([=] { export_factors(*arguments); });
}

}  // namespace longrope

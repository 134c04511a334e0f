#include "cli/command.h"
#include "common/error.h"
#include "common/files/write_file.h"
#include "common/formats/engine_config.h"
#include "common/formats/engine_tables.h"
#include "common/formats/factors_file.h"
#include "common/formats/hugging_face_export.h"
#include "common/formats/length_schedule.h"
#include "common/model/model_description.h"
#include "coordinator/winner_file.h"
#include "pipeline/pipeline_places.h"

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
  std::string format;
  std::string out;
  std::string target = "hf5";
  std::string layers;
  std::optional<std::string> stage;
};

void warn(const std::string& message) { std::cerr << "longrope: warning: " << message << "\n"; }

/// Of a search database, or of that of a stage in a pipeline.
FactorsFile best_factors(const ExportArguments& arguments) {
  Winner winner = winner_of_search(search_database_of(arguments.database, arguments.stage), arguments.stage,
                                   identify_model(arguments.model));
  if (!winner.best.final) std::cerr << "longrope: the stage has not chosen yet; exporting the best so far\n";
  return std::move(winner.file);
}

/// A canonical file, if λ of it means for the model what it meant where it was found.
FactorsFile factors_for_model(const std::string& path, const ModelDescription& model) {
  FactorsFile file = read_factors_json(path);
  if (!file.model) {
    file.model = factors_model(model, "");
    return file;
  }
  const RotaryGeometry& geometry = file.model->geometry;
  if (geometry.rotary_dim != model.geometry.rotary_dim || geometry.rope_theta != model.geometry.rope_theta) {
    throw InputError(fmt::format("factors must be for rotary_dim {} and rope_theta {}, those of {}: {} and {} ({})",
                                 model.geometry.rotary_dim, model.geometry.rope_theta, model.name, geometry.rotary_dim,
                                 geometry.rope_theta, path));
  }
  if (!file.model->sha256.empty() && file.model->sha256 != model_digest(model.directory)) {
    warn(fmt::format("the factors were found for another checkpoint, {} (digest {}) ({})", file.model->id,
                     file.model->sha256.substr(0, 12), path));
  }
  return file;
}

/// Puts the table of a recovery search before the one that there is.
void add_short_table(FactorsFile& file, const std::string& path, const ModelDescription& model) {
  FactorsFile recovered = factors_for_model(path, model);
  if (recovered.entries.size() != 1 || file.entries.size() != 1) {
    throw InputError(fmt::format("a short table is joined to one other table: {} and {} (--short-factors {})",
                                 recovered.entries.size(), file.entries.size(), path));
  }
  const auto step_of = [](const FactorsFile& each) -> FactorsFile::ScheduleStep {
    if (!each.schedule.empty()) return each.schedule.front();
    return {.max_length = each.entries.front().target_length, .factors_id = each.entries.front().id};
  };
  file.schedule = {step_of(recovered), step_of(file)};
  file.entries.insert(file.entries.begin(), std::move(recovered.entries.front()));
  require_valid_schedule(file, path);
}

/// Rows of the CSV; nullopt: a factor in each line.
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

void export_factors(const ExportArguments& arguments) {
  if (arguments.database.empty() == arguments.factors.empty()) {
    throw InputError("factors must come from --db or from --factors, one of them");
  }
  if (!arguments.layers.empty() && arguments.format != "csv") {
    throw InputError(fmt::format("--layers belongs to --format csv: {}", arguments.format));
  }
  const ModelDescription model = describe_model(arguments.model);
  FactorsFile file = arguments.factors.empty() ? best_factors(arguments) : factors_for_model(arguments.factors, model);
  if (!arguments.short_factors.empty()) add_short_table(file, arguments.short_factors, model);
  if (arguments.format == "json") {
    write_factors_json(file, arguments.out);
    fmt::print("{}\n", arguments.out);
    return;
  }
  const std::int64_t original_length = model.geometry.original_length;
  const EngineTables tables =
      engine_tables(file, original_length, arguments.factors.empty() ? arguments.database : arguments.factors);
  if (arguments.format == "csv") {
    if (tables.short_table) {
      warn(fmt::format("CSV holds one table; the one for {} tokens is written", tables.target_length));
    }
    write_factors_csv(tables.factors, arguments.out, csv_rows(arguments.layers, model));
    fmt::print("{}\n", arguments.out);
    return;
  }
  if (const auto sentence = tables_left_out(file, original_length)) warn(*sentence);
  const HuggingFaceTarget target = parse_hugging_face_target(arguments.target);
  if (arguments.format == "vllm") {
    write_file_atomically(arguments.out, vllm_config(arguments.model, tables, target));
  } else if (arguments.format == "axolotl") {
    write_file_atomically(arguments.out, axolotl_config(arguments.model, tables, target));
  } else {
    export_hugging_face(arguments.model, tables, arguments.out, target);
  }
  fmt::print("{}\n", arguments.out);
}

}  // namespace

void add_export_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("export", "Write the best factors, or those of a file, in a form that others load");
  auto arguments = std::make_shared<ExportArguments>();
  command->add_option("--db", arguments->database, "Database of the search whose best factors are taken");
  command->add_option("--factors", arguments->factors,
                      "Instead: canonical JSON, with one table or a schedule by length");
  command->add_option("--short-factors", arguments->short_factors,
                      "Canonical JSON with the table for sequences of up to its target_len (short-context recovery)");
  command->add_option("--model", arguments->model, "The model's directory")->required();
  command
      ->add_option("--format", arguments->format,
                   "hf: a model directory; json: canonical factors; csv: the authors'; vllm: for vllm serve --config; "
                   "axolotl: keys of its configuration")
      ->required()
      ->check(CLI::IsMember({"hf", "csv", "json", "vllm", "axolotl"}));
  command->add_option("--out", arguments->out, "File, or new directory for hf")->required();
  command->add_option("--target", arguments->target, "transformers of hf, vllm and axolotl: hf5 or hf4")
      ->check(CLI::IsMember({"hf4", "hf5"}))
      ->capture_default_str();
  command->add_option("--layers", arguments->layers,
                      "csv: so many equal rows, one for each layer; or model: as many as it has [one factor per line]");
  command->add_option("--stage", arguments->stage, "One stage [the last finished]");
  command->footer(
      "Example:\n  longrope export --db demo.db --model models/byte-llama --format hf --out byte-llama-4096\n"
      "  longrope export --db demo.db --model models/byte-llama --short-factors recovered.json --format json --out "
      "both.json");
  command->callback([=] { export_factors(*arguments); });
}

}  // namespace longrope

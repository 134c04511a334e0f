#include "pipeline/stage_work.h"

#include "common/error.h"
#include "common/files/write_folder.h"
#include "common/formats/engine_tables.h"
#include "common/formats/hugging_face_export.h"
#include "common/model/model_description.h"
#include "common/overloaded.h"
#include "common/rope/closed_form_factors.h"
#include "common/sha256.h"
#include "coordinator/processes/child_process.h"
#include "coordinator/processes/worker_program.h"
#include "coordinator/winner_file.h"
#include "pipeline/hand_off.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <thread>
#include <utility>
#include <vector>

namespace longrope {
namespace {

namespace fs = std::filesystem;

/// All tables of a checkpoint; `longrope evaluate` calls the method by the file's name.
constexpr const char* kScheduleFile = "longrope.json";

unsigned machine_threads() { return std::max(1U, std::thread::hardware_concurrency()); }

StageWork done(fs::path output) { return {WorkEnd::kDone, std::move(output), ""}; }
StageWork stopped() { return {WorkEnd::kStopped, {}, ""}; }

/// Runs the child that does the work of a stage: false when it was stopped by a signal to this process. Throws Error,
/// with the reason that it gave, when it fails.
bool run_to_end(const Child& child, const char* failure, const PipelineStageRecord& record) {
  const ChildEnd end = run_child(child);
  if (!end.success && !end.stopped) throw Error(fmt::format("{}: {} (stage {})", failure, end.last_line, record.name));
  return !end.stopped;
}

/// The winner of a search before on the same checkpoint, for another length: what it adds to the checkpoint's own
/// factors, by the rule of spec §2.8.
std::filesystem::path write_seed(const std::string& seed_stage, const PipelineStageRecord& record,
                                 std::int64_t target_length, const PipelineContext& context) {
  FactorsFile::Entry seed = context.places.winning_factors(seed_stage);
  const ModelDescription model = describe_model(context.places.checkpoint(record.model));
  const auto ratio = [&](std::int64_t length) {
    return static_cast<double>(length) / static_cast<double>(model.scaling.reached_length);
  };
  std::vector<double>& lambda = seed.factors.lambda;
  const std::vector<double>& own = model.scaling.beyond_original.lambda;
  const auto over_own = [&](auto operation) {
    if (model.scaling.scaled()) std::ranges::transform(lambda, own, lambda.begin(), operation);
  };
  over_own(std::divides<>());
  lambda = length_dynamic_factors(lambda, ratio(seed.target_length), ratio(target_length));
  over_own(std::multiplies<>());
  seed.factors = exact_factors(std::move(lambda), seed.factors.n_hat, seed.factors.attention);
  seed.target_length = target_length;
  FactorsFile file;
  file.entries.push_back(std::move(seed));
  fs::path out = context.places.folder(record.name) / fmt::format("seed-{}.json", seed_stage);
  write_factors_json(file, out);
  return out;
}

/// What only this stage of the configuration searches, on the checkpoint that it takes.
Config search_config(const PipelineStageRecord& record, StageConfig stage, const PipelineContext& context) {
  Config config = context.config;
  config.pipeline.clear();
  config.model = context.places.checkpoint(record.model);
  if (stage.recovery) {
    // Hugging Face has one attention factor for the short and the long table.
    stage.search.attention_policies = {AttentionPolicy::kValue};
    stage.search.attention_value = context.places.winning_factors(record.factors).factors.attention.value;
  }
  for (const std::string& seed_stage : std::exchange(stage.seed_stages, {})) {
    stage.search.seed_files.push_back(write_seed(seed_stage, record, stage.target_length, context));
  }
  config.stages = {std::move(stage)};
  return config;
}

StageWork do_search(const StageConfig& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  const fs::path winner = context.places.winner(record.name);
  if (fs::exists(winner)) return done(winner);
  const Config config = search_config(record, stage, context);
  const fs::path database = context.places.search_database(record.name);
  if (!context.search(config, database)) return stopped();
  write_factors_json(winner_of_search(database, std::nullopt, config.model).file, winner);
  return done(winner);
}

using Settings = std::vector<std::pair<std::string, std::string>>;

/// What the stage says, and `defaults` for what it leaves open.
Settings settings_of(const FinetuneStage& stage, const Settings& defaults) {
  Settings settings = stage.options;
  for (const auto& [name, value] : defaults) {
    if (!stage.option(name)) settings.emplace_back(name, value);
  }
  return settings;
}

Settings run_defaults(const PipelineContext& context) {
  return {{"seed", std::to_string(context.config.seed)},
          {"angles", std::string(to_string(context.config.angles))},
          {"dtype", std::string(to_string(context.config.dtype))},
          {"threads", std::to_string(machine_threads())}};
}

/// `longrope finetune`.
Child built_in_training(const PipelineStage& stage, const PipelineStageRecord& record, const PipelineContext& context,
                        const fs::path& out) {
  const auto& finetune = std::get<FinetuneStage>(stage.work);
  std::vector<std::string> command = {worker_program().string(),
                                      "finetune",
                                      "--model",
                                      fs::absolute(context.places.checkpoint(record.model)).string(),
                                      "--documents",
                                      fs::absolute(finetune.documents).string(),
                                      "--factors",
                                      context.places.winner(record.factors).string(),
                                      "--target-length",
                                      std::to_string(context.places.winning_factors(record.factors).target_length),
                                      "--length",
                                      std::to_string(sample_length(context.config.pipeline, stage)),
                                      "--out",
                                      out.string()};
  for (auto [name, value] : settings_of(finetune, run_defaults(context))) {
    std::ranges::replace(name, '_', '-');
    command.push_back("--" + name);
    if (!value.empty()) command.push_back(value);
  }
  return {.command = std::move(command), .folder = ".", .log = context.places.folder(record.name) / "log"};
}

/// For other trainers: as LLaMA2-7B was trained (spec §5.2).
Settings recommended_defaults(const PipelineContext& context) {
  Settings defaults = run_defaults(context);
  const Settings published = {
      {"steps", "400"}, {"batch_size", "32"}, {"learning_rate", "2e-5"}, {"schedule", "linear"}};
  defaults.insert(defaults.end(), published.begin(), published.end());
  return defaults;
}

/// A command of the user's, or the user.
StageWork hand_off_training(const PipelineStage& stage, const PipelineStageRecord& record,
                            const PipelineContext& context, const fs::path& out) {
  const auto& finetune = std::get<FinetuneStage>(stage.work);
  const fs::path folder = context.places.folder(record.name);
  const fs::path hand_off = folder / "hand-off";
  const FactorsFile::Entry factors = context.places.winning_factors(record.factors);
  const std::string completion =
      fmt::format("longrope stage complete {} --db {} --checkpoint DIR", record.name, context.database.string());
  write_hand_off({.stage = record.name,
                  .model = context.places.checkpoint(record.model),
                  .model_digest = record.inputs.at("model"),
                  .documents = finetune.documents,
                  .factors = factors.factors,
                  .target_length = factors.target_length,
                  .length = sample_length(context.config.pipeline, stage),
                  .settings = settings_of(finetune, recommended_defaults(context)),
                  .target = parse_hugging_face_target(finetune.option("target").value_or("hf5")),
                  .completion = completion},
                 hand_off);
  if (finetune.by_hand) {
    return {WorkEnd::kWaiting, {}, fmt::format("fine-tune {}, then: {}", (hand_off / "model").string(), completion)};
  }
  // Under another name until the command has ended well: what one that was killed left there may be half a model.
  const fs::path unfinished = out.string() + ".unfinished";
  const Child command = {
      .command = finetune.command,
      .folder = hand_off,
      .log = folder / "log",
      .environment = {{"LONGROPE_HAND_OFF", hand_off.string()}, {"LONGROPE_CHECKPOINT", unfinished.string()}}};
  if (!fs::exists(out)) {
    if (!run_to_end(command, "the command failed", record)) return stopped();
    if (!fs::exists(unfinished)) {
      throw InputError(fmt::format("the command must leave a model directory at LONGROPE_CHECKPOINT: none ({})",
                                   unfinished.string()));
    }
    fs::rename(unfinished, out);
  }
  // At each start: what is refused can be repaired there, and is not trained again.
  require_trained_from(hand_off, out);
  return done(out);
}

StageWork do_finetune(const PipelineStage& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  const auto& finetune = std::get<FinetuneStage>(stage.work);
  const fs::path out = context.places.folder(record.name) / fmt::format("{}-{}", context.config.name, record.name);
  if (finetune.by_hand || !finetune.command.empty()) return hand_off_training(stage, record, context, out);
  if (fs::exists(out)) return done(out);
  const Child training = built_in_training(stage, record, context, out);
  if (!run_to_end(training, "fine-tuning failed", record)) return stopped();
  // A signal that came to it alone has stopped it, which it does not call a failure.
  return fs::exists(out) ? done(out) : stopped();
}

/// One model's tables, in a folder that appears when they are all there. False when it was stopped.
bool evaluate(const EvaluateStage& stage, const PipelineStageRecord& record, const PipelineContext& context,
              const fs::path& model, const std::vector<fs::path>& factors, const fs::path& out) {
  if (fs::exists(out)) return true;
  const fs::path unfinished = out.string() + ".unfinished";
  fs::create_directories(unfinished);
  std::vector<std::string> command = {worker_program().string(), "evaluate"};
  const auto add = [&](const std::string& option, const std::string& value) {
    command.push_back("--" + option);
    command.push_back(value);
  };
  const auto add_file = [&](const std::string& option, const fs::path& file) {
    add(option, fs::absolute(file).string());
  };
  add_file("model", model);
  add_file("documents", stage.documents);
  add("lengths", fmt::format("{}", fmt::join(stage.lengths, ",")));
  if (stage.count) add("count", std::to_string(*stage.count));
  for (const fs::path& file : factors) add_file("factors", file);
  for (const fs::path& file : stage.passkey) add_file("passkey", file);
  for (const fs::path& file : stage.needle) add_file("needle", file);
  add("dtype", std::string(to_string(context.config.dtype)));
  add("angles", std::string(to_string(context.config.angles)));
  add("threads", std::to_string(machine_threads()));
  add_file("json-out", unfinished / kEvaluationFile);
  add_file("markdown-out", unfinished / "evaluation.md");
  add_file("csv-out", unfinished / "evaluation.csv");
  const Child child = {.command = std::move(command), .folder = ".", .log = context.places.folder(record.name) / "log"};
  if (!run_to_end(child, "evaluation failed", record)) return false;
  fs::rename(unfinished, out);
  return true;
}

StageWork do_evaluate(const EvaluateStage& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  const fs::path out = context.places.folder(record.name) / "evaluation";
  if (fs::exists(out)) return done(out);
  const fs::path unfinished = out.string() + ".unfinished";
  fs::create_directories(unfinished);
  const fs::path schedule = unfinished / kScheduleFile;
  write_factors_json(context.places.schedule(record), schedule);
  const bool both = stage.untouched && !record.model.empty();
  const auto evaluated = [&](const fs::path& model, const std::vector<fs::path>& factors, const char* name) {
    return evaluate(stage, record, context, model, factors, unfinished / name);
  };
  if (!evaluated(context.places.checkpoint(record.model), {schedule}, kEvaluatedCheckpoint) ||
      (both && !evaluated(context.places.untouched_model(), {}, kEvaluatedUntouched))) {
    return stopped();
  }
  fs::rename(unfinished, out);
  return done(out);
}

/// Hugging Face has one attention factor for both tables. What a recovery searched was searched with it; a checkpoint's
/// own factors have what they were trained with.
void share_attention_factor(EngineTables& tables) {
  RescaleFactors& own = tables.short_table->factors;
  if (own.attention.value == tables.factors.attention.value) return;
  std::cerr << fmt::format(
      "longrope: warning: up to {0} tokens the checkpoint's own factors get the attention factor of the long ones, {1} "
      "for {2}; a recovery for {0} tokens searches better ones\n",
      tables.short_table->max_length, tables.factors.attention.value, own.attention.value);
  own.attention = tables.factors.attention;
}

StageWork do_export(const ExportStage& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  const fs::path out = context.places.folder(record.name) / fmt::format("{}-{}", context.config.name, record.name);
  if (fs::exists(out)) return done(out);
  const fs::path checkpoint = context.places.checkpoint(record.model);
  const ModelDescription model = describe_model(checkpoint);
  const FactorsFile schedule = context.places.schedule(record);
  const std::int64_t original_length = model.geometry.original_length;
  if (const auto warning = tables_left_out(schedule, original_length)) {
    std::cerr << "longrope: warning: " << *warning << '\n';
  }
  EngineTables tables = engine_tables(schedule, original_length, "stage " + record.name);
  const RopeScaling& own = model.scaling;
  if (!tables.short_table && own.reached_length >= tables.target_length) {
    // The checkpoint was trained for all that it is exported for.
    tables.short_table = {.factors = own.up_to_original, .max_length = original_length};
  }
  if (tables.short_table &&
      (tables.short_table->factors == own.up_to_original || tables.short_table->factors == own.beyond_original)) {
    share_attention_factor(tables);
  }
  export_hugging_face(checkpoint, tables, out, parse_hugging_face_target(stage.target));
  return done(out);
}

}  // namespace

std::map<std::string, fs::path> stage_inputs(const PipelineStage& stage, const PipelineStageRecord& record,
                                             const PipelinePlaces& places) {
  std::map<std::string, fs::path> inputs = {{"model", places.checkpoint(record.model)}};
  const auto add = [&](const std::string& what, const fs::path& file) {
    if (file.empty()) return;
    std::string name = what;
    for (int number = 2; inputs.contains(name); ++number) name = fmt::format("{} ({})", what, number);
    inputs.emplace(std::move(name), file);
  };
  if (!record.factors.empty()) add("factors", places.winner(record.factors));
  std::visit(Overloaded{[&](const StageConfig& search) {
                          add("search_documents", search.search_documents);
                          add("heldout_documents", search.heldout_documents);
                          for (const std::string& seed : search.seed_stages) add("seed " + seed, places.winner(seed));
                        },
                        [&](const FinetuneStage& finetune) {
                          add("documents", finetune.documents);
                          add("short_documents", finetune.option("short_documents").value_or(""));
                        },
                        [&](const EvaluateStage& evaluate) {
                          add("documents", evaluate.documents);
                          for (const fs::path& file : evaluate.passkey) {
                            add("passkey " + file.filename().string(), file);
                          }
                          for (const fs::path& file : evaluate.needle) add("needle " + file.filename().string(), file);
                        },
                        [](const ExportStage&) {}},
             stage.work);
  if (stage.kind == StageKind::kEvaluate || stage.kind == StageKind::kExport) {
    for (const PipelineStageRecord* const other : places.table_stages(record)) {
      const char* const kind = other->kind == StageKind::kRecover ? "recovery" : "search";
      add(fmt::format("{} {}", kind, other->name), places.winner(other->name));
    }
  }
  return inputs;
}

std::string input_digest(const fs::path& input) {
  return fs::is_directory(input) ? model_digest(input) : sha256_of_file(input);
}

StageWork do_stage(const PipelineStage& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  fs::create_directories(context.places.folder(record.name));
  return std::visit(Overloaded{[&](const StageConfig& search) { return do_search(search, record, context); },
                               [&](const FinetuneStage&) { return do_finetune(stage, record, context); },
                               [&](const EvaluateStage& evaluate) { return do_evaluate(evaluate, record, context); },
                               [&](const ExportStage& exported) { return do_export(exported, record, context); }},
                    stage.work);
}

std::string output_digest(const fs::path& output) {
  if (!fs::is_directory(output)) return sha256_of_file(output);
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(output)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  Sha256 hash;
  for (const fs::path& file : files) hash.field(file.lexically_relative(output).string()).field(sha256_of_file(file));
  return hash.hex();
}

}  // namespace longrope

#include "cli/pipeline_stages.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/child_process.h"
#include "cli/search_session.h"
#include "cli/winner_file.h"
#include "cli/worker_program.h"
#include "common/closed_form_factors.h"
#include "common/error.h"
#include "common/model_description.h"
#include "common/overloaded.h"
#include "common/sha256.h"
#include "common/write_folder.h"
#include "coordinator/export/engine_tables.h"
#include "coordinator/export/hugging_face_export.h"
#include "coordinator/pipeline/hand_off.h"
#include "coordinator/store/store_reader.h"

namespace longrope {
namespace {

namespace fs = std::filesystem;

/// All tables of a checkpoint; `longrope evaluate` calls the method by the file's name.
constexpr const char* kScheduleFile = "longrope.json";

unsigned machine_threads() { return std::max(1U, std::thread::hardware_concurrency()); }

FactorsFile::Entry winner_of(const PipelineContext& context, const std::string& search_stage) {
  return read_factors_json(context.places.winner(search_stage)).entries.front();
}

/// The winner of a search before on the same checkpoint, for another length: what it adds to the checkpoint's own
/// factors, by the rule of spec §2.8.
std::filesystem::path write_seed(const std::string& seed_stage, const PipelineStageRecord& record,
                                 std::int64_t target_length, const PipelineContext& context) {
  FactorsFile::Entry seed = winner_of(context, seed_stage);
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
    stage.search.attention_value = winner_of(context, record.factors).factors.attention.value;
  }
  for (const std::string& seed_stage : std::exchange(stage.seed_stages, {})) {
    stage.search.seed_files.push_back(write_seed(seed_stage, record, stage.target_length, context));
  }
  config.stages = {std::move(stage)};
  return config;
}

StageWork do_search(const StageConfig& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  const fs::path winner = context.places.winner(record.name);
  if (fs::exists(winner)) return {WorkEnd::kDone, winner, ""};
  const Config config = search_config(record, stage, context);
  const fs::path database = context.places.search_database(record.name);
  {
    SearchSession search(config, database);
    if (!search.serve_local_workers(context.workers)) return {WorkEnd::kStopped, {}, ""};
  }
  write_factors_json(winner_of_search(database, std::nullopt, config.model).file, winner);
  return {WorkEnd::kDone, winner, ""};
}

std::vector<std::pair<std::string, std::string>> finetune_settings(const FinetuneStage& stage,
                                                                   const PipelineContext& context) {
  std::vector<std::pair<std::string, std::string>> settings = stage.options;
  const auto add_unless_given = [&](const std::string& name, const std::string& value) {
    if (std::ranges::find(settings, name, &std::pair<std::string, std::string>::first) != settings.end()) return;
    settings.emplace_back(name, value);
  };
  add_unless_given("seed", std::to_string(context.config.seed));
  add_unless_given("angles", std::string(to_string(context.config.angles)));
  add_unless_given("dtype", std::string(to_string(context.config.dtype)));
  add_unless_given("threads", std::to_string(machine_threads()));
  return settings;
}

StageWork train(const FinetuneStage& stage, const PipelineStageRecord& record, const PipelineContext& context,
                const fs::path& out) {
  const FactorsFile::Entry factors = winner_of(context, record.factors);
  std::vector<std::string> command = {worker_program().string(),
                                      "finetune",
                                      "--model",
                                      fs::absolute(context.places.checkpoint(record.model)).string(),
                                      "--documents",
                                      fs::absolute(stage.documents).string(),
                                      "--factors",
                                      context.places.winner(record.factors).string(),
                                      "--target-length",
                                      std::to_string(factors.target_length),
                                      "--length",
                                      std::to_string(stage.length == 0 ? factors.target_length : stage.length),
                                      "--out",
                                      out.string()};
  for (auto [name, value] : finetune_settings(stage, context)) {
    std::ranges::replace(name, '_', '-');
    command.push_back("--" + name);
    if (!value.empty()) command.push_back(value);
  }
  const ChildEnd end =
      run_child({.command = command, .folder = ".", .log = context.places.folder(record.name) / "log"});
  if (end.stopped) return {WorkEnd::kStopped, {}, ""};
  if (!end.success) throw Error(fmt::format("fine-tuning failed: {} (stage {})", end.last_line, record.name));
  return {WorkEnd::kDone, out, ""};
}

StageWork do_finetune(const FinetuneStage& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  const fs::path folder = context.places.folder(record.name);
  const fs::path out = folder / fmt::format("{}-{}", context.config.name, record.name);
  const bool built_in = stage.command.empty() && !stage.by_hand;
  if (built_in) return fs::exists(out) ? StageWork{WorkEnd::kDone, out, ""} : train(stage, record, context, out);

  const fs::path hand_off = folder / "hand-off";
  const FactorsFile::Entry factors = winner_of(context, record.factors);
  const std::string completion =
      fmt::format("longrope stage complete {} --db {} --checkpoint DIR", record.name, context.database.string());
  write_hand_off({.stage = record.name,
                  .model = context.places.checkpoint(record.model),
                  .documents = stage.documents,
                  .factors = factors.factors,
                  .target_length = factors.target_length,
                  .length = stage.length == 0 ? factors.target_length : stage.length,
                  .settings = finetune_settings(stage, context),
                  .completion = completion},
                 hand_off);
  if (stage.by_hand) {
    return {WorkEnd::kWaiting, {}, fmt::format("fine-tune {}, then: {}", (hand_off / "model").string(), completion)};
  }
  if (!fs::exists(out)) {  // else the command of an earlier process was done
    const ChildEnd end =
        run_child({.command = stage.command,
                   .folder = hand_off,
                   .log = folder / "log",
                   .environment = {{"LONGROPE_HAND_OFF", hand_off.string()}, {"LONGROPE_CHECKPOINT", out.string()}}});
    if (end.stopped) return {WorkEnd::kStopped, {}, ""};
    if (!end.success) throw Error(fmt::format("the command failed: {} (stage {})", end.last_line, record.name));
  }
  require_trained_from(hand_off, out);
  return {WorkEnd::kDone, out, ""};
}

/// One model's tables, in a folder that appears when they are all there.
ChildEnd evaluate(const EvaluateStage& stage, const PipelineContext& context, const fs::path& model,
                  const std::vector<fs::path>& factors, const fs::path& out, const fs::path& log) {
  if (fs::exists(out)) return {.success = true};
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
  ChildEnd end = run_child({.command = std::move(command), .folder = ".", .log = log});
  if (end.success) fs::rename(unfinished, out);
  return end;
}

StageWork do_evaluate(const EvaluateStage& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  const fs::path out = context.places.folder(record.name) / "evaluation";
  if (fs::exists(out)) return {WorkEnd::kDone, out, ""};
  const fs::path unfinished = out.string() + ".unfinished";
  fs::create_directories(unfinished);
  const fs::path schedule = unfinished / kScheduleFile;
  write_factors_json(context.places.schedule(record), schedule);
  struct Evaluated {
    fs::path model;
    std::vector<fs::path> factors;
    std::string name;
  };
  std::vector<Evaluated> models = {{context.places.checkpoint(record.model), {schedule}, kEvaluatedCheckpoint}};
  if (stage.untouched && !record.model.empty())
    models.push_back({context.places.untouched_model(), {}, kEvaluatedUntouched});
  for (const auto& [model, factors, name] : models) {
    const ChildEnd end =
        evaluate(stage, context, model, factors, unfinished / name, context.places.folder(record.name) / "log");
    if (end.stopped) return {WorkEnd::kStopped, {}, ""};
    if (!end.success) throw Error(fmt::format("evaluation failed: {} (stage {})", end.last_line, record.name));
  }
  fs::rename(unfinished, out);
  return {WorkEnd::kDone, out, ""};
}

StageWork do_export(const ExportStage& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  const fs::path out = context.places.folder(record.name) / fmt::format("{}-{}", context.config.name, record.name);
  if (fs::exists(out)) return {WorkEnd::kDone, out, ""};
  const fs::path checkpoint = context.places.checkpoint(record.model);
  const FactorsFile schedule = context.places.schedule(record);
  const std::int64_t original_length = describe_model(checkpoint).geometry.original_length;
  if (const auto warning = tables_left_out(schedule, original_length))
    std::cerr << "longrope: warning: " << *warning << '\n';
  export_hugging_face(checkpoint, engine_tables(schedule, original_length, "stage " + record.name), out,
                      stage.target == "hf4" ? HuggingFaceTarget::k4 : HuggingFaceTarget::k5);
  return {WorkEnd::kDone, out, ""};
}

}  // namespace

std::map<std::string, std::string> stage_inputs(const PipelineStage& stage, const PipelineStageRecord& record,
                                                const PipelineContext& context) {
  std::map<std::string, std::string> inputs = {{"model", model_digest(context.places.checkpoint(record.model))}};
  if (!record.factors.empty()) inputs["factors"] = sha256_of_file(context.places.winner(record.factors));
  const auto add = [&](const std::string& what, const fs::path& file) {
    if (!file.empty()) inputs[what] = sha256_of_file(file);
  };
  std::visit(Overloaded{[&](const StageConfig& search) {
                          add("search_documents", search.search_documents);
                          add("heldout_documents", search.heldout_documents);
                        },
                        [&](const FinetuneStage& finetune) {
                          add("documents", finetune.documents);
                          for (const auto& [name, value] : finetune.options) {
                            if (name == "short_documents") add(name, value);
                          }
                        },
                        [&](const EvaluateStage& evaluate) {
                          add("documents", evaluate.documents);
                          for (const fs::path& file : evaluate.passkey)
                            add("passkey " + file.filename().string(), file);
                          for (const fs::path& file : evaluate.needle) add("needle " + file.filename().string(), file);
                        },
                        [](const ExportStage&) {}},
             stage.work);
  return inputs;
}

StageWork do_stage(const PipelineStage& stage, const PipelineStageRecord& record, const PipelineContext& context) {
  fs::create_directories(context.places.folder(record.name));
  return std::visit(Overloaded{[&](const StageConfig& search) { return do_search(search, record, context); },
                               [&](const FinetuneStage& finetune) { return do_finetune(finetune, record, context); },
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

#include "common/error.h"
#include "common/formats/factors_file.h"
#include "common/machine_threads.h"
#include "evaluation/evaluated_methods.h"
#include "pipeline/length_tables.h"
#include "pipeline/preflight.h"
#include "pipeline/run_plan.h"
#include "pipeline/stage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace longrope {
namespace {

namespace fs = std::filesystem;

/// All tables of a checkpoint; `longrope evaluate` calls the method by the file's name.
constexpr const char* kScheduleFile = "longrope.json";

/// The checkpoint under all tables that were found for it, and the untouched model, beside the closed forms.
class EvaluateDriver final : public StageDriver {
 public:
  explicit EvaluateDriver(const PipelineStage& stage) : stage_(stage), evaluate_(std::get<EvaluateStage>(stage.work)) {}

  void check(Preflight& preflight) const override {
    const std::int64_t longest =
        std::max(preflight.reached_length(stage_), factors_length(preflight.config().stages, stage_));
    const std::int64_t length = *std::ranges::max_element(evaluate_.lengths);
    require_table(length, longest, "");
    // Its count is at most, not exactly.
    preflight.judge(evaluate_.documents, preflight.documents(evaluate_.documents, length));
    for (const auto* files : {&evaluate_.passkey, &evaluate_.needle}) {
      for (const fs::path& file : *files) {
        for (const Document& document : preflight.whole_documents(file)) {
          require_table(static_cast<std::int64_t>(document.tokens.size()), longest,
                        fmt::format(" ({} of {})", document.name, file.string()));
        }
      }
    }
  }

  void add_cost(const Config& config, const ModelDescription& model, StageCost& cost) const override {
    const auto closed_forms = static_cast<std::int64_t>(evaluated_methods({}).size());
    // The checkpoint has its own tables too.
    const std::int64_t methods = (untouched_too(stage_.model) ? 2 : 1) * closed_forms + 1;
    const std::int64_t documents = documents_in(evaluate_.documents, evaluate_.count, cost);
    for (const std::int64_t length : evaluate_.lengths) cost.add_passes(model, length, methods * documents);
    for (const auto* files : {&evaluate_.passkey, &evaluate_.needle}) {
      for (const fs::path& file : *files) {
        if (!fs::exists(file)) {
          cost.assumptions.push_back(
              fmt::format("stage {}: nothing for {}, which is not there", cost.name, file.string()));
          continue;
        }
        for (const Document& document : read_documents(file).documents) {
          cost.add_passes(model, static_cast<std::int64_t>(document.tokens.size()), methods);
        }
      }
    }
    cost.add_scoring_memory(model, config.dtype);
  }

  void add_inputs(const PipelineStageRecord& record, const PipelinePlaces& places, StageInputs& inputs) const override {
    inputs.add("documents", evaluate_.documents);
    for (const fs::path& file : evaluate_.passkey) inputs.add("passkey " + file.filename().string(), file);
    for (const fs::path& file : evaluate_.needle) inputs.add("needle " + file.filename().string(), file);
    add_tables(record, places, inputs);
  }

  [[nodiscard]] StageWork work(const PipelineStageRecord& record, const PipelineContext& context) const override {
    const fs::path out = context.places.folder(record.name) / "evaluation";
    if (fs::exists(out)) return {WorkEnd::kDone, out, ""};
    const fs::path unfinished = out.string() + ".unfinished";
    fs::create_directories(unfinished);
    const fs::path schedule = unfinished / kScheduleFile;
    write_factors_json(length_tables(record, context.places, context.checkpoints), schedule);
    const auto evaluated = [&](const fs::path& model, const std::vector<fs::path>& factors, const char* name) {
      return evaluate(record, context, model, factors, unfinished / name);
    };
    if (!evaluated(context.places.checkpoint(record.model), {schedule}, kEvaluatedCheckpoint) ||
        (untouched_too(record.model) && !evaluated(context.places.untouched_model(), {}, kEvaluatedUntouched))) {
      return {WorkEnd::kStopped, {}, ""};
    }
    fs::rename(unfinished, out);
    return {WorkEnd::kDone, out, ""};
  }

 private:
  static void require_table(std::int64_t length, std::int64_t longest, const std::string& place) {
    if (length <= longest) return;
    throw InputError(fmt::format("what is evaluated must be within the {} tokens of the longest table: {}{}", longest,
                                 length, place));
  }
  [[nodiscard]] bool untouched_too(const std::string& model) const { return evaluate_.untouched && !model.empty(); }
  [[nodiscard]] bool evaluate(const PipelineStageRecord& record, const PipelineContext& context, const fs::path& model,
                              const std::vector<fs::path>& factors, const fs::path& out) const;

  const PipelineStage& stage_;
  const EvaluateStage& evaluate_;
};

/// One model's tables, in a folder that appears when they are all there. False when it was stopped.
bool EvaluateDriver::evaluate(const PipelineStageRecord& record, const PipelineContext& context, const fs::path& model,
                              const std::vector<fs::path>& factors, const fs::path& out) const {
  if (fs::exists(out)) return true;
  const fs::path unfinished = out.string() + ".unfinished";
  fs::create_directories(unfinished);
  std::vector<std::string> command = {context.tools.worker_program().string(), "evaluate"};
  const auto add = [&](const std::string& option, const std::string& value) {
    command.push_back("--" + option);
    command.push_back(value);
  };
  const auto add_file = [&](const std::string& option, const fs::path& file) {
    add(option, fs::absolute(file).string());
  };
  add_file("model", model);
  if (const auto reached = context.checkpoints.reached_length(model)) add("reached-length", std::to_string(*reached));
  add_file("documents", evaluate_.documents);
  add("lengths", fmt::format("{}", fmt::join(evaluate_.lengths, ",")));
  if (evaluate_.count) add("count", std::to_string(*evaluate_.count));
  for (const fs::path& file : factors) add_file("factors", file);
  for (const fs::path& file : evaluate_.passkey) add_file("passkey", file);
  for (const fs::path& file : evaluate_.needle) add_file("needle", file);
  add("dtype", std::string(to_string(context.config.dtype)));
  add("angles", std::string(to_string(context.config.angles)));
  add("device", stage_devices(context.config).front());
  add("threads", std::to_string(machine_threads()));
  add_file("json-out", unfinished / kEvaluationFile);
  add_file("markdown-out", unfinished / "evaluation.md");
  add_file("csv-out", unfinished / "evaluation.csv");
  const Child child = {.command = std::move(command), .folder = ".", .log = context.places.log(record.name)};
  if (!run_to_end({child}, "evaluation failed", record, context)) return false;
  fs::rename(unfinished, out);
  return true;
}

}  // namespace

std::unique_ptr<StageDriver> make_evaluate_driver(const PipelineStage& stage) {
  return std::make_unique<EvaluateDriver>(stage);
}

}  // namespace longrope

#include "pipeline/stage.h"

#include "common/error.h"
#include "pipeline/length_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace longrope {

void StageInputs::add(const std::string& name, const std::filesystem::path& file) {
  if (file.empty()) return;
  std::string free = name;
  for (int number = 2; files_.contains(free); ++number) free = fmt::format("{} ({})", name, number);
  files_.emplace(std::move(free), file);
}

std::unique_ptr<StageDriver> make_driver(const PipelineStage& stage) {
  switch (stage.kind) {
    case StageKind::kSearch:
    case StageKind::kRecover:
      return make_search_driver(stage);
    case StageKind::kFinetune:
      return make_finetune_driver(stage);
    case StageKind::kEvaluate:
      return make_evaluate_driver(stage);
    case StageKind::kExport:
      return make_export_driver(stage);
  }
  throw Error(fmt::format("unknown kind of stage: {}", static_cast<int>(stage.kind)));
}

std::int64_t reached_length(const Config& config, const PipelineStage& stage, const ModelDescription& model,
                            const std::set<std::string>& skipped) {
  const auto trained = std::ranges::find(config.stages, stage.model, &PipelineStage::name);
  if (trained == config.stages.end()) return model.scaling.reached_length;
  return skipped.contains(trained->name) ? reached_length(config, *trained, model, skipped)
                                         : factors_length(config.stages, *trained);
}

StageInputs stage_inputs(const StageDriver& stage, const PipelineStageRecord& record, const PipelinePlaces& places) {
  StageInputs inputs;
  inputs.add("model", places.checkpoint(record.model));
  if (!record.factors.empty()) inputs.add("factors", places.winner(record.factors));
  stage.add_inputs(record, places, inputs);
  return inputs;
}

void add_tables(const PipelineStageRecord& record, const PipelinePlaces& places, StageInputs& inputs) {
  for (const PipelineStageRecord* const other : table_stages(record, places)) {
    const char* const kind = other->kind == StageKind::kRecover ? "recovery" : "search";
    inputs.add(fmt::format("{} {}", kind, other->name), places.winner(other->name));
  }
}

bool run_to_end(const std::vector<Child>& children, const char* failure, const PipelineStageRecord& record,
                const PipelineContext& context) {
  const ChildEnd end = context.tools.run_children(children);
  if (!end.success && !end.stopped) throw Error(fmt::format("{}: {} (stage {})", failure, end.last_line, record.name));
  return !end.stopped;
}

std::vector<std::string> stage_devices(const Config& config) {
  return config.devices.empty() ? std::vector<std::string>{"cpu"} : config.devices;
}

}  // namespace longrope
